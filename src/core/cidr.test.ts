/** IP sets: strict parsing, masks, and IPv4 hidden in IPv6. */
import assert from 'node:assert/strict'
import { BlockList } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { compileIpSet, parseCidr, parseIp } from './cidr.ts'

const ROWS: readonly (readonly [cidr: string, address: string, contained: boolean])[] = [
  ['10.0.0.1', '10.0.0.1', true],
  ['10.0.0.1', '10.0.0.2', false],
  ['10.0.0.0/8', '10.255.255.255', true],
  ['10.0.0.0/8', '11.0.0.0', false],
  ['10.1.2.3/8', '10.9.9.9', true],
  ['0.0.0.0/0', '255.255.255.255', true],
  ['128.0.0.0/1', '200.0.0.1', true],
  ['128.0.0.0/1', '127.255.255.255', false],
  ['192.168.1.0/31', '192.168.1.1', true],
  ['192.168.1.0/31', '192.168.1.2', false],
  ['fd00::/8', 'fdff::1', true],
  ['fd00::/8', 'fe00::1', false],
  ['2001:db8::/33', '2001:db8:7fff::1', true],
  ['2001:db8::/33', '2001:db8:8000::1', false],
  ['::1', '0:0:0:0:0:0:0:1', true],
  ['::/0', 'fe80::1', true],
  // Families never mix, but a mapped address is the IPv4 address it maps.
  ['::/0', '10.0.0.1', false],
  ['0.0.0.0/0', '::1', false],
  ['10.0.0.0/8', '::ffff:10.1.1.1', true],
  ['10.0.0.0/8', '::ffff:a01:101', true],
  ['::ffff:10.0.0.0/104', '10.200.0.1', true],
  ['::ffff:10.0.0.0/104', '11.0.0.1', false],
  ['::ffff:10.0.0.1', '10.0.0.1', true],
  ['::ffff:0:0/90', '10.0.0.1', false],
  ['fe80::/10', 'fe80::1%eth0', true],
]

for (const [cidr, address, contained] of ROWS)
  test(`${address} ${contained ? 'is' : 'is not'} in ${cidr}`, () => {
    assert.equal(compileIpSet([cidr]).has(address), contained)
  })

for (const junk of [
  '',
  'x',
  '10.0.0',
  '10.0.0.256',
  '010.0.0.1',
  '10.0.0.1/33',
  '10.0.0.1/-1',
  '10.0.0.1/',
  '10.0.0.1/08',
  '10.0.0.1:80',
  '[::1]',
  '::1/129',
  '::1%eth0',
  'fe80::1%eth0/10',
  ' 10.0.0.1',
  '10.0.0.1/8/8',
])
  test(`${JSON.stringify(junk)} is refused`, () => {
    assert.equal(parseCidr(junk), null)
    assert.throws(() => compileIpSet([junk]), RangeError)
  })

test('what is no address is in no set', () => {
  assert.equal(compileIpSet(['0.0.0.0/0', '::/0']).has('example.com'), false)
  assert.equal(parseIp('10.0.0.1/8'), null)
})

test('agrees with node:net BlockList', () => {
  const v6 = fc.ipV6().filter((address) => parseIp(address)?.version === 6)
  const cases = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 }), fc.ipV4(), fc.constant('ipv4' as const)),
    fc.tuple(v6, fc.integer({ min: 0, max: 128 }), v6, fc.constant('ipv6' as const)),
  )
  fc.assert(
    fc.property(cases, ([net, prefix, address, family]) => {
      const list = new BlockList()
      list.addSubnet(net, prefix, family)
      assert.equal(compileIpSet([`${net}/${prefix}`]).has(address), list.check(address, family))
    }),
  )
})
