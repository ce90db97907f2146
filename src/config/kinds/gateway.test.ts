/** Gateway by itself: what its check finds, and where. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { gateway } from './gateway.ts'

const FILES = { serverCertificate: '/c', privateKey: '/k' }

function findingsOf(server: Record<string, unknown>): string[] {
  const spec = { servers: [{ hosts: ['*'], port: { number: 80, name: 'p', protocol: 'HTTPS' }, ...server }] }
  return checkFindings(gateway, spec).map((finding) => finding.replace('spec.servers.0.', ''))
}

test('the servers of the seeds are fine', () => {
  assert.deepEqual(findingsOf({ tls: { mode: 'ISTIO_MUTUAL' } }), [])
  assert.deepEqual(findingsOf({ tls: { mode: 'MUTUAL', ...FILES, caCertificates: '/ca' } }), [])
  assert.deepEqual(findingsOf({ tls: { mode: 4 } }), [])
  assert.deepEqual(findingsOf({ port: { number: '80', name: 'p', protocol: 'http' } }), [])
  assert.deepEqual(findingsOf({ port: { number: 80, name: 'p', protocol: 'HTTP' }, tls: { httpsRedirect: true } }), [])
  assert.deepEqual(findingsOf({ tls: { mode: 'PASSTHROUGH' }, port: { number: 443, name: 'p', protocol: 'TLS' } }), [])
})

test('tls is needed where the protocol says so, and only there', () => {
  assert.deepEqual(findingsOf({}), ['SP4001 tls'])
  assert.deepEqual(findingsOf({ port: { number: 1, name: 'p', protocol: 'TLS' } }), ['SP4001 tls'])
  const plain = { port: { number: 80, name: 'p', protocol: 'HTTP' } }
  assert.deepEqual(findingsOf({ ...plain, tls: { mode: 'SIMPLE', ...FILES } }), ['SP4001 tls'])
  assert.deepEqual(findingsOf({ port: { number: 1, name: 'p', protocol: 'TCP' }, tls: {} }), ['SP4001 tls'])
  assert.deepEqual(findingsOf({ tls: { mode: 'ISTIO_MUTUAL', httpsRedirect: true } }), ['SP4011 tls.httpsRedirect'])
})

test('certificates: exactly one source, a CA where clients are verified, none with ISTIO_MUTUAL', () => {
  assert.deepEqual(findingsOf({ tls: { mode: 'SIMPLE' } }), ['SP4002 tls.mode'])
  assert.deepEqual(findingsOf({ tls: { mode: 'SIMPLE', ...FILES } }), [])
  assert.deepEqual(findingsOf({ tls: { mode: 'SIMPLE', ...FILES, credentialName: 'c' } }), ['SP4002 tls.mode'])
  assert.deepEqual(findingsOf({ tls: { mode: 'SIMPLE', serverCertificate: '/c' } }), ['SP4002 tls.mode'])
  assert.deepEqual(findingsOf({ tls: { mode: 'MUTUAL', ...FILES } }), ['SP4002 tls.mode'])
  assert.deepEqual(findingsOf({ tls: { mode: 'OPTIONAL_MUTUAL', ...FILES } }), ['SP4002 tls.mode'])
  assert.deepEqual(findingsOf({ tls: { mode: 'MUTUAL', credentialName: 'c' } }), [])
  assert.deepEqual(findingsOf({ tls: { mode: 'ISTIO_MUTUAL', ...FILES } }), [
    'SP4002 tls.privateKey',
    'SP4002 tls.serverCertificate',
  ])
})

test('AUTO_PASSTHROUGH, unknown protocols, bad hosts and pins are errors', () => {
  assert.deepEqual(findingsOf({ tls: { mode: 'AUTO_PASSTHROUGH' } }), ['SP4003 tls.mode'])
  assert.deepEqual(findingsOf({ port: { number: 1, name: 'p', protocol: 'UDP' } }), ['SP4000 port.protocol'])
  const tls = { mode: 'ISTIO_MUTUAL' }
  for (const host of ['a/b/c', 'UP/x', '~/x', '', 'a_b/x', '*foo', 'x:80'])
    assert.deepEqual(findingsOf({ tls, hosts: [host] }), ['SP4004 hosts.0'], host)
  for (const host of ['ns/a.com', './*.a.com', '*/a.com', '*', 'A.com'])
    assert.deepEqual(findingsOf({ tls, hosts: [host] }), [], host)
  assert.deepEqual(findingsOf({ tls: { ...tls, verifyCertificateHash: ['ab'] } }), [
    'SP4000 tls.verifyCertificateHash.0',
  ])
  assert.deepEqual(findingsOf({ tls: { ...tls, verifyCertificateSpki: ['ab'] } }), [
    'SP4000 tls.verifyCertificateSpki.0',
  ])
  assert.deepEqual(findingsOf({ tls: { ...tls, minProtocolVersion: 'TLSV1_3', maxProtocolVersion: 'TLSV1_2' } }), [
    'SP4000 tls.minProtocolVersion',
  ])
})

test('port names are unique, servers and hosts are not empty', () => {
  const server = { hosts: ['*'], port: { number: 80, name: 'p', protocol: 'HTTP' } }
  assert.deepEqual(checkFindings(gateway, { servers: [server, server] }), ['SP4000 spec.servers.1.port.name'])
  const dotted = { ...server, port: { ...server.port, name: 'a.b' } }
  assert.deepEqual(checkFindings(gateway, { servers: [dotted] }), ['SP4000 spec.servers.0.port.name'])
  assert.throws(() => gateway.schema.parse({ servers: [] }))
  assert.throws(() => gateway.schema.parse({ servers: [{ ...server, hosts: [] }] }))
  assert.throws(() => gateway.schema.parse({ servers: [{ ...server, port: { ...server.port, number: 0 } }] }))
})
