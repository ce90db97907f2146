/** Cross-check: what our schemas take, the CRD schemas of Istio take too (contract §3, Checking). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as v1 from '@kubernetes-models/istio/networking.istio.io/v1'
import * as v1alpha3 from '@kubernetes-models/istio/networking.istio.io/v1alpha3'
import * as v1beta1 from '@kubernetes-models/istio/networking.istio.io/v1beta1'
import { checkFindings } from '../../testing/resources.ts'
import type { KindModule } from '../resource.ts'
import { destinationRule } from './destination-rule.ts'
import { serviceEntry } from './service-entry.ts'
import { workloadEntry } from './workload-entry.ts'

type Crd = new (data: never) => { validate(): void }

function accepts(crd: Crd, spec: unknown): boolean {
  const data = { metadata: { name: 'x', namespace: 'y' }, spec } as never
  try {
    new crd(data).validate()
    return true
  } catch {
    return false
  }
}

function crossCheck<Spec>(module: KindModule<Spec>, crds: readonly Crd[], good: object[], bad: object[]): void {
  describe(module.kind, () => {
    good.forEach((spec, i) => {
      test(`document ${i} is accepted by both`, () => {
        assert.deepEqual(checkFindings(module, spec), [])
        for (const crd of crds) assert.equal(accepts(crd, spec), true)
      })
    })
    bad.forEach((spec, i) => {
      test(`document ${i} is refused by both`, () => {
        assert.equal(module.schema.safeParse(spec).success, false)
        for (const crd of crds) assert.equal(accepts(crd, spec), false)
      })
    })
  })
}

const http = { number: 80, name: 'http', protocol: 'HTTP', targetPort: 8080 }

crossCheck(
  serviceEntry,
  [v1.ServiceEntry, v1beta1.ServiceEntry, v1alpha3.ServiceEntry],
  [
    { hosts: ['aliyun.com'], location: 'MESH_EXTERNAL', ports: [http], resolution: 'DNS' },
    {
      hosts: ['a.example.com'],
      addresses: ['192.0.2.0/24'],
      ports: [http],
      resolution: 'STATIC',
      endpoints: [
        {
          address: '192.0.2.1',
          ports: { http: 9090 },
          labels: { app: 'a' },
          network: 'n',
          locality: 'r/z',
          weight: 3,
          serviceAccount: 'api',
        },
      ],
      exportTo: ['.', 'other'],
      subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b'],
    },
    { hosts: ['*.example.com'], ports: [http], location: 'MESH_EXTERNAL', resolution: 'DYNAMIC_DNS' },
    { hosts: ['a.example.com'], ports: [http], resolution: 'STATIC', workloadSelector: { labels: { app: 'a' } } },
  ],
  [
    { ports: [http] },
    { hosts: [] },
    { hosts: ['a.b'], resolution: 'SOMETIMES' },
    { hosts: ['a.b'], ports: [{ number: 80 }] },
    { hosts: ['a.b'], ports: [{ number: 'eighty', name: 'http' }] },
  ],
)

crossCheck(
  workloadEntry,
  [v1.WorkloadEntry, v1beta1.WorkloadEntry, v1alpha3.WorkloadEntry],
  [{ address: '192.0.2.1', labels: { app: 'a' }, weight: 1, ports: { http: 80 }, serviceAccount: 'a' }],
  [{ address: 7 }, { address: 'a.b', weight: -1 }, { address: 'a.b', labels: { app: 1 } }],
)

const tls = {
  mode: 'MUTUAL',
  clientCertificate: '/c',
  privateKey: '/k',
  caCertificates: '/ca',
  caCrl: '/crl',
  sni: 'a.b',
  subjectAltNames: ['a.b'],
}
const connectionPool = {
  tcp: {
    maxConnections: 1,
    connectTimeout: '10s',
    idleTimeout: '1h',
    maxConnectionDuration: '2h',
    tcpKeepalive: { probes: 1, time: '1s', interval: '1s' },
  },
  http: {
    http1MaxPendingRequests: 1,
    http2MaxRequests: 1,
    maxRequestsPerConnection: 1,
    maxRetries: 1,
    idleTimeout: '1s',
    h2UpgradePolicy: 'DO_NOT_UPGRADE',
    useClientProtocol: true,
    maxConcurrentStreams: 1,
  },
}
const outlierDetection = {
  splitExternalLocalOriginErrors: true,
  consecutiveLocalOriginFailures: 1,
  consecutiveGatewayErrors: 1,
  consecutive5xxErrors: 1,
  interval: '1s',
  baseEjectionTime: '1s',
  maxEjectionPercent: 10,
  minHealthPercent: 0,
}

crossCheck(
  destinationRule,
  [v1.DestinationRule, v1beta1.DestinationRule, v1alpha3.DestinationRule],
  [
    {
      host: 'edition.cnn.com',
      trafficPolicy: {
        loadBalancer: { simple: 'ROUND_ROBIN' },
        portLevelSettings: [{ port: { number: 443 }, tls: { mode: 'SIMPLE', sni: 'edition.cnn.com' } }],
      },
    },
    {
      host: '*.example.com',
      exportTo: ['.'],
      workloadSelector: { matchLabels: { istio: 'egressgateway' } },
      trafficPolicy: {
        tls,
        connectionPool,
        outlierDetection,
        loadBalancer: {
          consistentHash: { httpCookie: { name: 'a', path: '/', ttl: '0s' }, ringHash: { minimumRingSize: 1 } },
          localityLbSetting: {
            enabled: true,
            distribute: [{ from: 'a', to: { b: 100 } }],
            failoverPriority: ['x'],
          },
        },
        proxyProtocol: { version: 'V2' },
        retryBudget: { percent: 20, minRetryConcurrency: 3 },
      },
      subsets: [
        { name: 'v1', labels: { version: 'v1' }, trafficPolicy: { tls } },
        {
          name: 'v2',
          trafficPolicy: {
            loadBalancer: { simple: 'LEAST_REQUEST', warmup: { duration: '10s', minimumPercent: 10, aggression: 1 } },
            tunnel: { protocol: 'CONNECT', targetHost: 'a.b', targetPort: 443 },
          },
        },
      ],
    },
  ],
  [
    { trafficPolicy: { tls } },
    { host: 7 },
    { host: 'a.b', trafficPolicy: { tls: { mode: 'SOMETIMES' } } },
    { host: 'a.b', trafficPolicy: { tls: { mode: 'SIMPLE', insecureSkipVerify: 'yes' } } },
    { host: 'a.b', subsets: [{ labels: {} }] },
    { host: 'a.b', trafficPolicy: { loadBalancer: { simple: 'BEST' } } },
    { host: 'a.b', trafficPolicy: { tunnel: { targetHost: 'x' } } },
  ],
)
