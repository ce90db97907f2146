import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { destinationRule } from './destination-rule.ts'

const withTls = (tls: object) => ({ host: 'a.example.com', trafficPolicy: { tls } })
const TLS = 'spec.trafficPolicy.tls'
const files = { clientCertificate: '/c', privateKey: '/k' }

describe('DestinationRule: tls', () => {
  const rows: [string, object, string[]][] = [
    ['SIMPLE', { mode: 'SIMPLE', sni: 'a.example.com', caCertificates: 'system' }, []],
    ['mode by number', { mode: 1 }, []],
    ['no mode is DISABLE', { sni: 'a.example.com' }, [`SP7010 ${TLS}`]],
    ['MUTUAL with files', { mode: 'MUTUAL', ...files }, []],
    ['MUTUAL with a secret', { mode: 'MUTUAL', credentialName: 'client' }, []],
    ['MUTUAL without key', { mode: 'MUTUAL', clientCertificate: '/c' }, [`SP7000 ${TLS}.privateKey`]],
    [
      'MUTUAL with both',
      { mode: 'MUTUAL', ...files, credentialName: 'client' },
      [`SP7000 ${TLS}.clientCertificate`, `SP7000 ${TLS}.privateKey`],
    ],
    [
      'SIMPLE with a CA twice',
      { mode: 'SIMPLE', caCertificates: '/ca', credentialName: 'ca' },
      [`SP7000 ${TLS}.caCertificates`],
    ],
    ['ISTIO_MUTUAL', { mode: 'ISTIO_MUTUAL', sni: 'x' }, []],
    [
      'ISTIO_MUTUAL with a file',
      { mode: 'ISTIO_MUTUAL', ...files },
      [`SP7000 ${TLS}.clientCertificate`, `SP7000 ${TLS}.privateKey`],
    ],
    [
      'no verification, but a CA',
      { mode: 'SIMPLE', insecureSkipVerify: true, caCertificates: '/ca' },
      [`SP7000 ${TLS}.caCertificates`],
    ],
    [
      'no verification, but names',
      { mode: 'MUTUAL', ...files, insecureSkipVerify: true, subjectAltNames: ['a'] },
      [`SP7000 ${TLS}.subjectAltNames`],
    ],
  ]
  for (const [name, tls, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(destinationRule, withTls(tls)), expected))

  test('port-level and subset blocks are checked too', () => {
    const tls = { mode: 'MUTUAL', clientCertificate: '/c' }
    const spec = {
      host: 'a.b',
      trafficPolicy: { portLevelSettings: [{ port: { number: 443 }, tls }] },
      subsets: [{ name: 'v1', trafficPolicy: { tls } }],
    }
    assert.deepEqual(checkFindings(destinationRule, spec), [
      'SP7000 spec.subsets.0.trafficPolicy.tls.privateKey',
      'SP7000 spec.trafficPolicy.portLevelSettings.0.tls.privateKey',
    ])
  })
})

describe('DestinationRule: the rest', () => {
  const rows: [string, object, string[]][] = [
    ['every host', { host: '*' }, []],
    ['bad host', { host: 'a:80' }, ['SP7000 spec.host']],
    ['exportTo', { host: 'a.b', exportTo: ['*', '.'] }, ['SP7000 spec.exportTo']],
    ['selector exported', { host: 'a.b', exportTo: ['*'], workloadSelector: {} }, ['SP7000 spec.exportTo']],
    [
      'two balancers',
      { host: 'a.b', trafficPolicy: { loadBalancer: { simple: 'RANDOM', consistentHash: { useSourceIp: true } } } },
      ['SP7000 spec.trafficPolicy.loadBalancer'],
    ],
    [
      'no time to connect',
      { host: 'a.b', trafficPolicy: { connectionPool: { tcp: { connectTimeout: '0s' } } } },
      ['SP7000 spec.trafficPolicy.connectionPool.tcp.connectTimeout'],
    ],
    [
      'port twice',
      { host: 'a.b', trafficPolicy: { portLevelSettings: [{ port: { number: 1 } }, { port: { number: 1 } }] } },
      ['SP7000 spec.trafficPolicy.portLevelSettings.1.port.number'],
    ],
    ['subset twice', { host: 'a.b', subsets: [{ name: 'v1' }, { name: 'v1' }] }, ['SP7000 spec.subsets.1.name']],
  ]
  for (const [name, spec, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(destinationRule, spec), expected))

  test('every verification setting that is not built is an error, every limit a warning', () => {
    const severity = (path: string) =>
      destinationRule.unsupported.find((row) => row.path === `spec.trafficPolicy.${path}`)?.severity
    assert.equal(severity('tls.caCrl'), 'error')
    assert.equal(severity('portLevelSettings[].tls.caCrl'), 'error')
    assert.equal(severity('connectionPool.tcp.maxConnections'), 'warning')
    assert.equal(severity('connectionPool.tcp.connectTimeout'), undefined)
  })
})
