/** The whole of configuration, from resources to model: seeds 001 and 002 in shape, errors, versions. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { assemble } from './assemble.ts'
import { authorizationPolicy } from './kinds/authorization-policy.ts'
import { gateway } from './kinds/gateway.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { virtualService } from './kinds/virtual-service.ts'
import { collectDiagnostics } from './report.ts'
import type { KindModule, Resource } from './resource.ts'

function resource<Spec>(module: KindModule<Spec>, namespace: string, name: string, spec: unknown): Resource {
  return testResource(module, { namespace, name }, spec) as Resource
}

const SEED_001: readonly Resource[] = [
  resource(serviceEntry, 'istio-system', 'aliyuncom-ext', {
    hosts: ['www.aliyun.com'],
    location: 'MESH_EXTERNAL',
    ports: [
      { number: 80, name: 'http', protocol: 'HTTP' },
      { number: 443, name: 'tls', protocol: 'TLS' },
    ],
    resolution: 'DNS',
  }),
  resource(gateway, 'istio-system', 'istio-egressgateway', {
    selector: { istio: 'egressgateway' },
    servers: [{ hosts: ['*'], port: { number: 80, name: 'http', protocol: 'HTTPS' }, tls: { mode: 'ISTIO_MUTUAL' } }],
  }),
  resource(virtualService, 'demo-frontend', 'example-com-through-egress-gateway', {
    hosts: ['www.aliyun.com'],
    exportTo: ['istio-system', 'demo-frontend'],
    gateways: ['mesh', 'istio-system/istio-egressgateway'],
    http: [
      {
        match: [{ gateways: ['mesh'], port: 80 }],
        route: [
          {
            destination: {
              host: 'istio-egressgateway.istio-system.svc.cluster.local',
              port: { number: 80 },
              subset: 's',
            },
          },
        ],
      },
      {
        match: [{ gateways: ['istio-system/istio-egressgateway'], port: 80 }],
        route: [{ destination: { host: 'www.aliyun.com', port: { number: 80 } }, weight: 100 }],
      },
    ],
  }),
  resource(authorizationPolicy, 'istio-system', 'deny-demo-frontend', {
    action: 'DENY',
    selector: { matchLabels: { istio: 'egressgateway' } },
    rules: [{ from: [{ source: { namespaces: ['demo-frontend'] } }] }],
  }),
]

function run(resources: readonly Resource[], ports = [{ gatewayPort: 80, bindPort: 8080 }]) {
  const collector = collectDiagnostics()
  const model = assemble(testSettings({ ports }), resources, collector.report)
  return { model, findings: findings(collector) }
}

test('seed 001: one mTLS listener, one virtual host, one cluster, one policy, nothing to complain about', () => {
  const { model, findings: found } = run(SEED_001)
  assert.deepEqual(found, [])
  assert.ok(model)
  assert.deepEqual(
    model.listeners.map(({ gatewayPort, bindPort, servers }) => [
      gatewayPort,
      bindPort,
      servers.map(({ name }) => name),
    ]),
    [[80, 8080, ['istio-system/istio-egressgateway/http']]],
  )
  const [table] = model.routeTables
  assert.equal(table?.name, 'https.80.http.istio-egressgateway.istio-system')
  assert.deepEqual(
    table.virtualHosts.map(({ host }) => host),
    ['www.aliyun.com'],
  )
  assert.deepEqual(
    model.clusters.map(({ name }) => name),
    ['outbound|80||www.aliyun.com'],
  )
  assert.deepEqual(
    model.policies.map(({ name }) => name),
    ['deny-demo-frontend'],
  )
  assert.deepEqual(
    model.registry.map(({ host }) => host),
    ['www.aliyun.com'],
  )
})

test('every server names a table that exists, every table is named once', () => {
  const { model } = run(
    SEED_001,
    [80, 443, 444].map((port) => ({ gatewayPort: port, bindPort: port + 8000 })),
  )
  const names = model?.routeTables.map(({ name }) => name) ?? []
  assert.equal(new Set(names).size, names.length)
  for (const { routeTable } of model?.listeners.flatMap(({ servers }) => servers) ?? [])
    assert.ok(names.includes(routeTable))
})

test('the version is that of the content: the order of files does not matter, a changed field does', () => {
  const version = run(SEED_001).model?.version
  assert.match(version ?? '', /^[0-9a-f]{64}$/)
  assert.equal(run(SEED_001.toReversed()).model?.version, version)
  assert.notEqual(run(SEED_001.slice(0, 3)).model?.version, version)
  assert.notEqual(run(SEED_001, []).model?.version, version)
})

test('the model is plain data', () => {
  const { model } = run(SEED_001)
  assert.deepEqual(JSON.parse(JSON.stringify(model)), model)
})

test('an error anywhere means no model, and the other findings still come', () => {
  const bind = resource(gateway, 'istio-system', 'bound', {
    servers: [{ hosts: ['*'], bind: '10.0.0.1', port: { number: 81, name: 'http', protocol: 'HTTP' } }],
  })
  const lost = resource(virtualService, 'istio-system', 'lost', {
    hosts: ['a'],
    gateways: ['nowhere'],
    http: [{ redirect: { uri: '/' } }],
  })
  const { model, findings: found } = run([...SEED_001, bind, lost])
  assert.equal(model, null)
  assert.deepEqual(found, [
    // Port 81 is plaintext.
    'SP5030 AuthorizationPolicy/istio-system/deny-demo-frontend:spec.rules.0.from.0.source.namespaces',
    'SP4012 Gateway/istio-system/bound:spec.servers.0.bind',
    'SP4020 VirtualService/istio-system/lost:spec.gateways.0',
  ])
})
