import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { createAddressGuard } from './address-guard.ts'
import { createSelfCheck } from './self.ts'

const never = () => false

test('resolved addresses: only public ones, unless allowed', () => {
  const strict = createAddressGuard([], never)
  assert.equal(strict.judge('8.8.8.8', 'resolved'), null)
  assert.equal(strict.judge('10.0.0.1', 'resolved'), 'private')
  assert.equal(strict.judge('169.254.169.254', 'resolved'), 'metadata')
  const open = createAddressGuard(['10.0.0.0/8', 'fd00::/8'], never)
  assert.equal(open.judge('10.0.0.1', 'resolved'), null)
  assert.equal(open.judge('fd12::1', 'resolved'), null)
  assert.equal(open.judge('192.168.0.1', 'resolved'), 'private')
})

test('static addresses are the operator’s word, but for metadata and for spellings that are no address', () => {
  const guard = createAddressGuard([], never)
  for (const address of ['127.0.0.1', '10.0.0.1', '::1', 'fd12::1', '100.64.0.1']) {
    assert.equal(guard.judge(address, 'static'), null, address)
  }
  for (const address of ['169.254.169.254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe', 'fd00:ec2::254']) {
    assert.equal(guard.judge(address, 'static'), 'metadata', address)
    assert.equal(guard.judge(address, 'resolved'), 'metadata', address)
  }
  assert.equal(createAddressGuard(['169.254.169.254'], never).judge('169.254.169.254', 'static'), null)
  assert.equal(guard.judge('127.1', 'static'), 'non_canonical')
  assert.equal(guard.judge('fe80::1%lo', 'static'), 'non_canonical')
})

test('allowing a NAT64 prefix does not open what lies inside it', () => {
  const guard = createAddressGuard(['64:ff9b::/96'], never)
  assert.equal(guard.judge('64:ff9b::808:808', 'resolved'), null)
  assert.equal(guard.judge('64:ff9b::a00:1', 'resolved'), 'private')
  assert.equal(createAddressGuard(['64:ff9b::/96', '10.0.0.0/8'], never).judge('64:ff9b::a00:1', 'resolved'), null)
  assert.equal(createAddressGuard(['10.0.0.0/8'], never).judge('64:ff9b::a00:1', 'resolved'), 'private')
})

test('a range that cannot be read is an error, not an empty list', () => {
  assert.throws(() => createAddressGuard(['10.0.0.0/33'], never), RangeError)
  assert.throws(() => createAddressGuard(['intranet'], never), RangeError)
})

test('self: exact listeners, wildcard listeners on any address of this host', () => {
  const isSelf = createSelfCheck(() => [
    { address: '0.0.0.0', port: 8080 },
    { address: '127.0.0.1', port: 15000 },
  ])
  assert.equal(isSelf('127.0.0.1', 8080), true)
  assert.equal(isSelf('127.0.0.9', 8080), true)
  assert.equal(isSelf('0.0.0.0', 8080), true)
  assert.equal(isSelf('::1', 8080), true)
  assert.equal(isSelf('8.8.8.8', 8080), false)
  assert.equal(isSelf('127.0.0.1', 8081), false)
  assert.equal(isSelf('127.0.0.1', 15000), true)
  assert.equal(isSelf('0.0.0.0', 15000), true)
  assert.equal(isSelf('127.0.0.2', 15000), false)
  for (const own of Object.values(networkInterfaces()).flatMap((interfaces) => interfaces ?? [])) {
    assert.equal(isSelf(own.address, 8080), true, own.address)
  }
})
