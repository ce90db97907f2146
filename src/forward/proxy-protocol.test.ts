import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CallerAddresses } from './forwarder.ts'
import { proxyHeader } from './proxy-protocol.ts'

const caller = (sourceIp: string, destinationIp: string): CallerAddresses => ({
  sourceIp,
  sourcePort: 56_324,
  destinationIp,
  destinationPort: 443,
})

/** The examples of doc/proxy-protocol.txt, section 2.1, and what is not told. */
const V1: readonly (readonly [source: string, destination: string, line: string])[] = [
  ['192.168.0.1', '192.168.0.11', 'PROXY TCP4 192.168.0.1 192.168.0.11 56324 443'],
  ['::ffff:192.168.0.1', '192.168.0.11', 'PROXY TCP4 192.168.0.1 192.168.0.11 56324 443'],
  ['2001:db8::1', '::1', 'PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:0:0:1 56324 443'],
  ['fe80::1%eth0', '::1', 'PROXY TCP6 fe80:0:0:0:0:0:0:1 0:0:0:0:0:0:0:1 56324 443'],
  ['192.168.0.1', '::1', 'PROXY UNKNOWN'],
  ['', '192.168.0.11', 'PROXY UNKNOWN'],
  ['1.2.3.4 1.2.3.4', '192.168.0.11', 'PROXY UNKNOWN'],
]

test('version 1: one line of text', () => {
  for (const [source, destination, line] of V1)
    assert.equal(proxyHeader('V1', caller(source, destination)).toString('latin1'), `${line}\r\n`)
})

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const PORTS = 'dc0401bb'

test('version 2: bytes', () => {
  const hex = (source: string, destination: string) => proxyHeader('V2', caller(source, destination)).toString('hex')
  assert.equal(hex('192.168.0.1', '10.0.0.255'), `${SIGNATURE}2111000cc0a800010a0000ff${PORTS}`)
  // An IPv4 address in the clothes of IPv6 is IPv4: these two have no common family.
  assert.equal(hex('2001:db8::1', '::ffff:1.2.3.4'), `${SIGNATURE}20000000`)
  assert.equal(
    hex('2001:db8::1', 'fe80::2'),
    `${SIGNATURE}2121002420010db8000000000000000000000001fe800000000000000000000000000002${PORTS}`,
  )
  assert.equal(hex('192.168.0.1', '::1'), `${SIGNATURE}20000000`)
})
