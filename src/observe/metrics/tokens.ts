/** Families about the keys that tokens are verified with (RequestAuthentication). */
import type { Registry } from 'prom-client'
import { addFamily, type MetricRow } from './family.ts'

/** TABLE of families about keys that are fetched. Without such rules they have no series. */
export const TOKEN_METRICS = {
  sallyport_token_keys: {
    type: 'gauge',
    help: 'Keys at hand from one place (jwksUri, or the issuer): 0 means that its tokens are refused.',
    labels: ['uri'],
  },
  sallyport_token_keys_age_seconds: {
    type: 'gauge',
    help: 'How long ago the keys at hand were fetched. Growing beyond 20 minutes while tokens come: new ones cannot be had, the last good ones are used.',
    labels: ['uri'],
  },
  sallyport_token_key_fetches_total: {
    type: 'counter',
    help: 'Fetches of keys, by result (success, failure).',
    labels: ['uri', 'result'],
  },
} as const satisfies Record<string, MetricRow>

/** Of one place that keys are fetched from. `ageMs`: null before the first success. */
export type TokenKeyState = {
  readonly uri: string
  readonly keys: number
  readonly ageMs: number | null
  readonly fetched: number
  readonly failed: number
}

/** `states`: read at scrape; as many as the configuration names. */
export function registerTokens(registry: Registry, states: () => Iterable<TokenKeyState>): void {
  const family = (
    name: keyof typeof TOKEN_METRICS,
    samples: (state: TokenKeyState) => { labels: Record<string, string>; value: number }[],
  ) => addFamily(registry, name, TOKEN_METRICS[name], () => [...states()].flatMap(samples))
  family('sallyport_token_keys', ({ uri, keys }) => [{ labels: { uri }, value: keys }])
  family('sallyport_token_keys_age_seconds', ({ uri, ageMs }) =>
    ageMs === null ? [] : [{ labels: { uri }, value: ageMs / 1000 }],
  )
  family('sallyport_token_key_fetches_total', ({ uri, fetched, failed }) => [
    { labels: { uri, result: 'success' }, value: fetched },
    { labels: { uri, result: 'failure' }, value: failed },
  ])
}
