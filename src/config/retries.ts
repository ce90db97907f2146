/** `retries` of a VirtualService rule → RetryModel (behaviour §4.6; Istio retry.ConvertPolicy). */
import { DEFAULT_RETRY, type RetryModel } from '../model/route.ts'
import type { HttpRule } from './kinds/virtual-service-schema.ts'

/** What `retryOn` says, token by token; names in lower case. */
export type RetryOn = { readonly on: readonly string[]; readonly statusCodes: readonly number[] }

/**
 * Numbers from 100 to 599 are status codes, and imply `retriable-status-codes`; everything else is a name. (Istio reads
 * as names those numbers that have no reason phrase of their own, which Envoy then does not know.)
 */
export function parseRetryOn(text: string): RetryOn {
  const tokens = text
    .split(',')
    .map((token) => token.trim().toLowerCase())
    .filter((token) => token !== '')
  const isStatus = (token: string) => /^[1-5]\d\d$/.test(token)
  const on = new Set(tokens.filter((token) => !isStatus(token)))
  const statusCodes = tokens.filter(isStatus).map(Number)
  if (statusCodes.length > 0) on.add('retriable-status-codes')
  return { on: [...on], statusCodes }
}

/** One object for all routes that say nothing: thousands of them are kept for as long as they are in force. */
const HASHED_RETRY: RetryModel = { ...DEFAULT_RETRY, ignorePreviousHosts: false }

/**
 * Absent: Istio's default policy. Written: that policy with what is given; without `attempts` they are 0, which turns
 * retries off (null). `hashed`: the destination is chosen by a hash, which retries follow unless the rule says otherwise.
 */
export function lowerRetries(retries: HttpRule['retries'], hashed: boolean): RetryModel | null {
  if (retries === undefined) return hashed ? HASHED_RETRY : DEFAULT_RETRY
  const { attempts = 0, retryOn = '', perTryTimeout = 0, backoff = 0 } = retries
  if (attempts === 0) return null
  return {
    ...DEFAULT_RETRY,
    ...(retryOn === '' ? {} : parseRetryOn(retryOn)),
    attempts,
    perTryTimeoutMs: perTryTimeout === 0 ? null : Math.ceil(perTryTimeout),
    backoffMs: backoff === 0 ? DEFAULT_RETRY.backoffMs : Math.max(1, backoff),
    ignorePreviousHosts: retries.retryIgnorePreviousHosts ?? !hashed,
    remoteLocalities: retries.retryRemoteLocalities ?? false,
  }
}
