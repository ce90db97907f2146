/** Cross-check with Istio's CRDs: no field of Gateway or VirtualService is unknown to us, and real documents pass both. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  Gateway,
  type IGateway,
  type IVirtualService,
  VirtualService,
} from '@kubernetes-models/istio/networking.istio.io/v1'
import { checkFindings } from '../../testing/resources.ts'
import { type GatewayServerSpec, type GatewaySpec, type GatewayTlsSpec, gateway } from './gateway.ts'
import { virtualService } from './virtual-service.ts'
import type { HttpMatch, HttpRule, VirtualServiceSpec } from './virtual-service-schema.ts'

type Spec<T extends { spec?: unknown }> = NonNullable<T['spec']>
type Item<T> = NonNullable<T> extends (infer Each)[] ? Each : never
type CrdServer = Item<Spec<IGateway>['servers']>
type CrdRule = Item<Spec<IVirtualService>['http']>

/** Does not compile unless every key of the CRD's type is a key of ours. */
type Known<Crd, _None extends never> = Crd
type Unknown<Crd, Ours> = Exclude<keyof Crd, keyof Ours>
type Checked = [
  Known<'Gateway', Unknown<Spec<IGateway>, GatewaySpec>>,
  Known<'servers', Unknown<CrdServer, GatewayServerSpec>>,
  Known<'port', Unknown<CrdServer['port'], GatewayServerSpec['port']>>,
  Known<'tls', Unknown<NonNullable<CrdServer['tls']>, GatewayTlsSpec>>,
  Known<'VirtualService', Unknown<Spec<IVirtualService>, VirtualServiceSpec>>,
  // The CRD lists both spellings of one field; the canonical walk renames snake_case.
  Known<'http', Exclude<Unknown<CrdRule, HttpRule>, 'mirror_percent'>>,
  Known<'match', Unknown<Item<CrdRule['match']>, HttpMatch>>,
  Known<'route', Unknown<Item<CrdRule['route']>, NonNullable<HttpRule['route']>[number]>>,
  Known<'redirect', Unknown<NonNullable<CrdRule['redirect']>, NonNullable<HttpRule['redirect']>>>,
  Known<'fault', Unknown<NonNullable<CrdRule['fault']>, NonNullable<HttpRule['fault']>>>,
  Known<'retries', Unknown<NonNullable<CrdRule['retries']>, NonNullable<HttpRule['retries']>>>,
  Known<'corsPolicy', Unknown<NonNullable<CrdRule['corsPolicy']>, NonNullable<HttpRule['corsPolicy']>>>,
]
const checkedByTheCompiler: Checked['length'] = 12

const metadata = { name: 'x', namespace: 'y' }

test('a Gateway with every kind of server', () => {
  const port = (number: number, protocol: string) => ({ number, name: `p${number}`, protocol })
  const spec = {
    selector: { istio: 'egressgateway' },
    servers: [
      { hosts: ['a.com', './b.com', '*/c.com'], port: port(80, 'HTTP'), tls: { httpsRedirect: true } },
      { hosts: ['*'], port: port(81, 'HTTPS'), tls: { mode: 'ISTIO_MUTUAL' as const } },
      {
        hosts: ['*.x.com'],
        port: port(443, 'HTTPS'),
        tls: {
          mode: 'MUTUAL' as const,
          serverCertificate: '/etc/certs/cert-chain.pem',
          privateKey: '/etc/certs/key.pem',
          caCertificates: '/etc/certs/root-cert.pem',
          minProtocolVersion: 'TLSV1_2' as const,
        },
      },
      { hosts: ['s.com'], port: port(444, 'HTTPS'), tls: { mode: 'SIMPLE' as const, credentialName: 'web' } },
    ],
  }
  assert.equal(checkedByTheCompiler, 12)
  assert.deepEqual(checkFindings(gateway, spec), [])
  new Gateway({ metadata, spec }).validate()
})

test('a VirtualService with every action', () => {
  const destination = { host: 'a.com', port: { number: 80 } }
  const spec = {
    hosts: ['a.com'],
    gateways: ['istio-system/gw'],
    exportTo: ['.'],
    http: [
      {
        name: 'r',
        match: [
          {
            name: 'm',
            uri: { prefix: '/x' },
            headers: { a: { exact: 'b' } },
            withoutHeaders: { c: { regex: 'd.*' } },
            port: 80,
          },
        ],
        route: [{ destination, weight: 1, headers: { request: { set: { e: 'f' } } } }],
        timeout: '3s',
        rewrite: { uri: '/y', authority: 'b.com' },
        headers: { response: { remove: ['g'] } },
      },
      { match: [{ uri: { exact: '/r' } }], redirect: { uri: '/y', redirectCode: 302, port: 8080 } },
      { directResponse: { status: 503, body: { string: 'closed' } } },
    ],
  }
  assert.deepEqual(checkFindings(virtualService, spec), [])
  new VirtualService({ metadata, spec }).validate()
})
