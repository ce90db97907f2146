/** A gateway in front of two echo sites, in plain text on Gateway port 80 and with mTLS on 443, for tests of limits. */
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import type { Harness, HarnessOptions } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents, gateway, ISTIO_MUTUAL, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'

export const SITE = 'site.example'
export const OTHER_SITE = 'other.example'
export const SLEEP = 'apps/sleep'
export const SLEEP_ID = 'spiffe://cluster.local/ns/apps/sa/sleep'
/** Another account of the same namespace, and one of another. */
export const CRON = 'apps/cron'
export const BATCH = 'jobs/batch'

/** An EgressRateLimit `ns istio-system`, name `limits`, unless told otherwise. */
export function rateLimit(limits: readonly object[], more: object = {}, spec: object = {}): Manifest {
  return {
    apiVersion: 'sallyport.dev/v1alpha1',
    kind: 'EgressRateLimit',
    metadata: { name: 'limits', namespace: 'istio-system', ...more },
    spec: { ...spec, limits },
  }
}

/** Of callers with an identity, so that every key is there. */
export const ANYONE = { from: [{ namespaces: ['*'] }] }
/** Few enough that none comes back while a test runs. */
export const hourly = (count: number) => ({ requests: { count, per: 'hour' } })

let pki: Promise<TestPki> | null = null

/** One mesh CA for all worlds of a test file. */
export async function worldPki(): Promise<TestPki> {
  pki ??= createTestPki()
  return pki
}

type Call = RequestOptions & { readonly from?: string | null; readonly host?: string }

export type LimitWorld = {
  readonly harness: Harness
  /** One request on a connection of its own; `from: null`: in plain text. */
  call(call?: Call): Promise<Answer>
  /** Statuses of requests one after the other. */
  statuses(count: number, call?: Call): Promise<number[]>
  /** Other limits. @throws when they are refused */
  become(...limits: readonly Manifest[]): Promise<void>
  /** What loading them says; nothing runs differently afterwards. */
  refusal(...limits: readonly Manifest[]): Promise<readonly string[]>
  connect(from: string | null): Promise<Socket>
}

export async function limitWorld(
  t: TestContext,
  limits: readonly Manifest[] = [],
  options: Omit<HarnessOptions, 'resources'> = {},
): Promise<LimitWorld> {
  const mesh = await worldPki()
  const sites = await Promise.all([startEchoOrigin(), startEchoOrigin()])
  t.after(() => Promise.all(sites.map((site) => site.close())))
  const base = [
    gateway({}, { number: 443, tls: ISTIO_MUTUAL }),
    ...[SITE, OTHER_SITE].flatMap((host, i) => [
      serviceEntry(`s${i}`, host, sites[i]?.port ?? 0),
      virtualService(`v${i}`, [host], [{ route: to(host) }]),
    ]),
  ]
  const resources = (manifests: readonly Manifest[]) => ({
    'limits.yaml': manifests.length === 0 ? '# none\n' : documents(...manifests),
  })
  const harness = await started(t, {
    ...options,
    pki: mesh,
    resources: { 'base.yaml': documents(...base), ...resources(limits) },
  })
  const connect = async (from: string | null): Promise<Socket> => {
    const socket =
      from === null
        ? await plainConnect(harness.gateway.port(80))
        : await meshConnect({ port: harness.gateway.port(443), svid: await mesh.svid(from), ca: mesh.root })
    t.after(() => socket.destroy())
    return socket
  }
  const call = async ({ from = SLEEP, host = SITE, ...rest }: Call = {}): Promise<Answer> => {
    const socket = await connect(from)
    try {
      return await request(socket, host, rest)
    } finally {
      socket.destroy()
    }
  }
  return {
    harness,
    call,
    connect,
    statuses: async (count, each) => {
      const statuses: number[] = []
      for (let i = 0; i < count; i += 1) statuses.push((await call(each)).status)
      return statuses
    },
    become: async (...manifests) => {
      const { ok, errors } = await harness.change(resources(manifests))
      if (!ok) throw new Error(errors.join('\n'))
    },
    refusal: async (...manifests) => (await harness.change(resources(manifests))).errors,
  }
}
