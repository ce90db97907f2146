/** The Redis of k8s/components/redis: the bootstrap names its Service, the gateway's pods reach it, nobody else does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { installation, type Selector, selects } from './installation.ts'

const installed = installation('overlays/shared-limits')

type Policy = {
  readonly podSelector: Selector
  readonly policyTypes: readonly string[]
  readonly ingress?: readonly {
    readonly from: readonly { readonly podSelector: Selector }[]
    readonly ports: readonly object[]
  }[]
  readonly egress?: readonly {
    readonly to: readonly { readonly podSelector: Selector }[]
    readonly ports: readonly object[]
  }[]
}
type StatefulSet = {
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> }
    readonly spec: { readonly containers: readonly { readonly ports: readonly { readonly containerPort: number }[] }[] }
  }
}

function specOf<T>(kind: string, name: string): T {
  const object = installed.objects.find((each) => each.kind === kind && each.metadata.name === name)
  assert.ok(object !== undefined, `${kind} ${name}`)
  assert.equal(object.metadata.namespace, 'istio-egress')
  return (object as unknown as { readonly spec: T }).spec
}

const redis = specOf<StatefulSet>('StatefulSet', 'sallyport-redis').template
const PORT = 6379

test('the bootstrap file names the Service, which leads to the pod', () => {
  const { spec } = parse(installed.configMap('sallyport-config')['gateway.yaml'] ?? '') as {
    readonly spec: { readonly redis: { readonly url: string } }
  }
  assert.equal(spec.redis.url, `redis://sallyport-redis.istio-egress.svc.cluster.local:${PORT}`)
  const service = specOf<{
    readonly selector: Readonly<Record<string, string>>
    readonly ports: readonly { readonly port: number }[]
  }>('Service', 'sallyport-redis')
  assert.ok(selects({ matchLabels: service.selector }, redis.metadata.labels))
  assert.deepEqual(
    service.ports.map(({ port }) => port),
    [PORT],
  )
  assert.deepEqual(
    redis.spec.containers.flatMap(({ ports }) => ports.map(({ containerPort }) => containerPort)),
    [PORT],
  )
})

test('gateway and Redis reach each other by both policies; others do not, and Redis reaches nobody', () => {
  const out = specOf<Policy>('NetworkPolicy', 'istio-egressgateway-to-redis')
  const own = specOf<Policy>('NetworkPolicy', 'sallyport-redis')
  const ports = [{ protocol: 'TCP', port: PORT }]
  const gateway = installed.podLabels
  assert.ok(selects(out.podSelector, gateway) && !selects(out.podSelector, redis.metadata.labels))
  assert.ok(selects(own.podSelector, redis.metadata.labels) && !selects(own.podSelector, gateway))
  const [[to], [from]] = [out.egress ?? [], own.ingress ?? []]
  assert.ok(to?.to.every(({ podSelector }) => selects(podSelector, redis.metadata.labels)))
  assert.ok(from?.from.every(({ podSelector }) => selects(podSelector, gateway)))
  assert.deepEqual([to?.ports, from?.ports], [ports, ports])
  assert.deepEqual([own.policyTypes, own.egress, own.ingress?.length], [['Ingress', 'Egress'], [], 1])
})
