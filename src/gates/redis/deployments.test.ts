/** The kinds of Redis there are: one server with TLS and a user of its own, Sentinels that fail over, a Cluster. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { lowerRedis, REDIS } from '../../config/redis.ts'
import type { RedisSettings } from '../../model/redis.ts'
import { createLog } from '../../observe/log.ts'
import { eventually } from '../../testing/eventually.ts'
import { createTestPki } from '../../testing/pki.ts'
import { RedisServer, skipWithoutRedis } from '../../testing/redis.ts'
import { Blocks } from '../blocks/blocks.ts'
import { BlockRegister } from '../blocks/register.ts'
import { SharedBlocks } from '../blocks/shared-blocks.ts'
import { RedisLink } from './link.ts'
import { PROBE } from './scripts.ts'

const skip = skipWithoutRedis
const QUIET = createLog({ write: () => true }, 'off')

function lower(spec: object): RedisSettings {
  const settings = lowerRedis(
    REDIS.parse({ timeout: '1s', ...spec }),
    () => ({ file: '', line: 1, col: 1 }),
    () => undefined,
    (path) => path,
  )
  assert.ok(settings !== null)
  return settings
}

async function linkTo(t: TestContext, settings: RedisSettings): Promise<RedisLink> {
  const link = new RedisLink(settings, QUIET)
  t.after(() => link.close())
  await eventually('the store answers', () => link.up)
  return link
}

/** What one sets, the other learns by the channel. */
async function shares(t: TestContext, settings: RedisSettings): Promise<void> {
  const blocks = new Blocks()
  const shared = new SharedBlocks(settings, blocks, QUIET)
  const register = new BlockRegister(settings)
  t.after(() => {
    shared.close()
    register.close()
    blocks.close()
  })
  await shared.ready()
  await register.ready(5000)
  await register.put({ id: 'b-000000000001', from: '*', to: null, reason: 'x' }, 60_000)
  await eventually('the block is known', () => blocks.size === 1)
  await register.lift('b-000000000001')
  await eventually('it is lifted', () => blocks.size === 0)
}

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-redis-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('TLS with a client certificate, and a user that may do what a gateway does and no more', { skip }, async (t) => {
  const pki = await createTestPki()
  const dir = directory(t)
  const put = (name: string, text: string | Buffer) => {
    const file = join(dir, name)
    writeFileSync(file, text)
    return file
  }
  const ca = put('ca.pem', pki.root)
  const server = await pki.serverCert('redis.example')
  const [cert, key] = [put('cert.pem', server.cert), put('key.pem', server.key)]
  const client = (await pki.svid('istio-system/gateway')).writeTo(join(dir, 'client'))
  const [mine, mineKey] = [client.certificateChain, client.privateKey]
  const acl =
    '~sallyport:* &sallyport:* +eval +evalsha +get +set +del +pexpire +hset +hsetnx +hget +hdel +hgetall +time +publish +subscribe +zadd +zrem +zscore +zcard +zremrangebyscore +info +ping'
  const port = await freePort()
  const redis = await RedisServer.start({
    port,
    args: [
      ...['--port', '0', '--tls-port', String(port)],
      ...['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', ca],
      ...['--user', 'gateway', 'on', '>geheim', ...acl.split(' ')],
      ...['--user', 'default', 'on', '>admin', '~*', '&*', '+@all'],
    ],
    cli: ['--tls', '--cacert', ca, '--cert', cert, '--key', key, '-a', 'admin', '--no-auth-warning'],
  })
  t.after(() => redis.close())
  const spec = {
    url: `rediss://gateway@127.0.0.1:${port}`,
    passwordFile: put('password', 'geheim\n'),
    tls: { ca, cert: mine, key: mineKey, serverName: 'redis.example' },
  }
  await linkTo(t, lower(spec))
  await shares(t, lower(spec))
  // What must not work: another name, no certificate, a wrong password.
  const wrong = [
    { ...spec, tls: { ...spec.tls, serverName: 'other.example' } },
    { ...spec, tls: { ca, serverName: 'redis.example' } },
    { ...spec, passwordFile: put('wrong', 'wrong') },
  ]
  for (const each of wrong) {
    const register = new BlockRegister(lower(each))
    await assert.rejects(register.ready(1500))
    register.close()
  }
})

test('a rotated password counts from the next connection on', { skip }, async (t) => {
  const dir = directory(t)
  const passwordFile = join(dir, 'password')
  writeFileSync(passwordFile, 'one')
  const redis = await RedisServer.start({ args: ['--requirepass', 'one'], cli: ['-a', 'one', '--no-auth-warning'] })
  t.after(() => redis.close())
  const link = await linkTo(t, lower({ url: redis.url, passwordFile }))
  writeFileSync(passwordFile, 'two\n')
  await redis.command('CONFIG', 'SET', 'requirepass', 'two')
  // It counts for new connections; this ends the old ones.
  await redis.command('-a', 'two', 'CLIENT', 'KILL', 'TYPE', 'normal')
  await eventually('the connection is lost', () => link.state.outages === 1)
  await eventually('it is back, with the new password', () => link.up)
  assert.equal(await link.ask(PROBE, 'a', []), 'sallyport')
})

test('Sentinels: the primary is found by its name, and the next one when it dies', { skip }, async (t) => {
  const primary = await RedisServer.start()
  const replica = await RedisServer.start({ args: ['--replicaof', '127.0.0.1', String(primary.port)] })
  t.after(() => Promise.all([primary.close(), replica.close()]))
  const file = join(directory(t), 'sentinel.conf')
  writeFileSync(
    file,
    [
      `sentinel monitor mymaster 127.0.0.1 ${primary.port} 1`,
      'sentinel down-after-milliseconds mymaster 500',
      'sentinel failover-timeout mymaster 2000',
    ].join('\n'),
  )
  const sentinel = await RedisServer.start({ config: file, args: ['--sentinel'] })
  t.after(() => sentinel.close())
  await eventually('the replica follows', async () =>
    (await replica.command('INFO', 'replication')).includes('master_link_status:up'),
  )
  await eventually('the Sentinel knows of it', async () =>
    (await sentinel.command('SENTINEL', 'replicas', 'mymaster')).includes(String(replica.port)),
  )
  const settings = lower({ sentinel: { master: 'mymaster', nodes: [`127.0.0.1:${sentinel.port}`] } })
  const link = await linkTo(t, settings)
  await shares(t, settings)
  await primary.kill()
  await eventually('the breaker is open', () => !link.up)
  await eventually('the replica has taken over', () => link.up, 60_000)
  assert.match(await replica.command('INFO', 'replication'), /role:master/)
})

/** Each has a third of the slots; resolves when all know of all. */
async function joined(servers: readonly RedisServer[]): Promise<void> {
  const [first, ...others] = servers as readonly [RedisServer, ...RedisServer[]]
  const share = Math.ceil(16_384 / servers.length)
  for (const [i, server] of servers.entries()) {
    const last = Math.min((i + 1) * share, 16_384) - 1
    await server.command('CLUSTER', 'ADDSLOTSRANGE', String(i * share), String(last))
    await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1))
  }
  for (const server of servers)
    await eventually('the Cluster is whole', async () => {
      const info = await server.command('CLUSTER', 'INFO')
      if (info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${servers.length}`)) return true
      // Again each time: on a busy machine a handshake may end before it is answered, and nothing else begins another.
      // redis-cli's own `--cluster create` asks once and then waits for ever.
      for (const { port } of others) await first.command('CLUSTER', 'MEET', '127.0.0.1', String(port))
      return false
    })
}

test('a Cluster: each key on its node, blocks and their channel on all', { skip }, async (t) => {
  const servers = await Promise.all(
    [1, 2, 3].map(async () => RedisServer.start({ args: ['--cluster-enabled', 'yes'], lowPort: true })),
  )
  t.after(() => Promise.all(servers.map((server) => server.close())))
  const [first] = servers
  await joined(servers)
  const settings = lower({ cluster: { nodes: [`127.0.0.1:${first?.port}`] } })
  const link = await linkTo(t, settings)
  for (let i = 0; i < 30; i += 1) assert.equal(await link.ask(PROBE, `sallyport:limit:x:{${i}}`, []), 'sallyport')
  const sizes = await Promise.all(servers.map(async (server) => Number(await server.command('DBSIZE'))))
  assert.ok(
    sizes.every((size) => size > 0),
    `keys by node: ${sizes.join(', ')}`,
  )
  await shares(t, settings)
})

async function freePort(): Promise<number> {
  const server = await RedisServer.start()
  const { port } = server
  await server.close()
  return port
}
