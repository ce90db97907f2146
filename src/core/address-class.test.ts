import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type AddressClass, classifyAddress } from './address-class.ts'

const TABLE: Readonly<Record<string, AddressClass | null>> = {
  '8.8.8.8': 'public',
  '93.184.216.34': 'public',
  '100.63.255.255': 'public',
  '100.128.0.0': 'public',
  '172.15.255.255': 'public',
  '172.32.0.0': 'public',
  '198.17.255.255': 'public',
  '223.255.255.255': 'public',
  '0.0.0.0': 'unspecified',
  '0.1.2.3': 'unspecified',
  '10.0.0.1': 'private',
  '172.16.0.0': 'private',
  '172.31.255.255': 'private',
  '192.168.1.1': 'private',
  '127.0.0.1': 'loopback',
  '127.255.255.254': 'loopback',
  '169.254.1.1': 'link_local',
  '169.254.169.254': 'metadata',
  '169.254.170.2': 'metadata',
  '169.254.170.23': 'metadata',
  '100.100.100.200': 'metadata',
  '168.63.129.16': 'metadata',
  '192.0.0.192': 'metadata',
  '100.64.0.1': 'cgnat',
  '100.127.255.255': 'cgnat',
  '192.0.0.1': 'reserved',
  '192.0.2.1': 'documentation',
  '198.51.100.7': 'documentation',
  '203.0.113.9': 'documentation',
  '192.88.99.1': 'reserved',
  '198.18.0.1': 'benchmark',
  '198.19.255.255': 'benchmark',
  '224.0.0.1': 'multicast',
  '239.255.255.255': 'multicast',
  '240.0.0.1': 'reserved',
  '255.255.255.255': 'reserved',
  '2606:2800:220:1::1': 'public',
  '2a00:1450:4001:82b::200e': 'public',
  '::': 'unspecified',
  '::1': 'loopback',
  'fe80::1': 'link_local',
  'fe80::a9fe:a9fe': 'metadata',
  'fec0::1': 'private',
  'fc00::1': 'unique_local',
  'fd12:3456::1': 'unique_local',
  'fd00:ec2::254': 'metadata',
  'fd20:ce::254': 'metadata',
  'ff02::1': 'multicast',
  '2001:db8::1': 'documentation',
  '3fff:1::1': 'documentation',
  '2001:2::1': 'benchmark',
  '2001:20::1': 'reserved',
  '100::1': 'reserved',
  '5f00::1': 'reserved',
  '4000::1': 'reserved',
  // IPv4 inside IPv6: the class of what is carried; a public one is no reason to spell it like that.
  '::ffff:10.0.0.1': 'private',
  '::ffff:7f00:1': 'loopback',
  '::ffff:169.254.169.254': 'metadata',
  '::ffff:8.8.8.8': 'embedded',
  '::10.0.0.1': 'private',
  '::808:808': 'embedded',
  '::ffff:0:10.0.0.1': 'private',
  '64:ff9b::7f00:1': 'loopback',
  '64:ff9b::a9fe:a9fe': 'metadata',
  '64:ff9b::808:808': 'embedded',
  '64:ff9b:1::1': 'embedded',
  '2002:7f00:1::': 'loopback',
  '2002:a00:1::1': 'private',
  '2002:808:808::': 'embedded',
  // Teredo: the client 10.0.0.1 with every bit inverted.
  '2001:0:4136:e378:8000:63bf:f5ff:fffe': 'private',
  '2001:0:4136:e378:8000:63bf:f7f7:f7f7': 'embedded',
  // No addresses at all.
  'fe80::1%eth0': null,
  '2130706433': null,
  '0x7f.1': null,
  '0177.0.0.1': null,
  '127.1': null,
  '1.2.3.4.': null,
  '[::1]': null,
  localhost: null,
  '': null,
}

for (const [address, expected] of Object.entries(TABLE)) {
  test(`${JSON.stringify(address)} is ${expected ?? 'no address'}`, () => {
    assert.equal(classifyAddress(address)?.class ?? null, expected)
  })
}

test('an IPv4 address is never more public inside IPv6 than by itself', () => {
  const word = fc.integer({ min: 0, max: 255 })
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), ([a, b, c, d]) => {
      const own = classifyAddress(`${a}.${b}.${c}.${d}`)?.class
      const hex = (x: number, y: number) => ((x << 8) | y).toString(16)
      for (const carrier of [
        `::ffff:${a}.${b}.${c}.${d}`,
        `64:ff9b::${hex(a, b)}:${hex(c, d)}`,
        `2002:${hex(a, b)}:${hex(c, d)}::1`,
        `2001:0:1:2:3:4:${hex(a ^ 255, b ^ 255)}:${hex(c ^ 255, d ^ 255)}`,
      ]) {
        const inside = classifyAddress(carrier)?.class
        assert.equal(inside, own === 'public' ? 'embedded' : own, carrier)
      }
    }),
  )
})
