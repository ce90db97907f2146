/** Documents for the gateway itself: names are resolved and judged by our own rules, servers are verified, keys grow old. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createLog } from '../../observe/log.ts'
import { type DnsReply, startDnsServer } from '../../testing/dns-server.ts'
import { eventually } from '../../testing/eventually.ts'
import { createTestPki } from '../../testing/pki.ts'
import { jwksOf, type KeyServer, startKeyServer, tokenKey } from '../../testing/tokens.ts'
import { createDocumentFetcher, type FetchDocument, type FetchSettings } from './fetch.ts'
import { KEY_TIMES, RemoteKeys } from './remote-keys.ts'

const LOOPBACK = ['127.0.0.0/8']
const DNS = { servers: [], minTtlMs: 1_000, maxTtlMs: 60_000, staleForMs: 0 }
const SILENT = createLog({ write: () => true }, 'off')
const NAME = 'keys.example'

type Options = {
  readonly allow?: readonly string[]
  readonly ca?: string
  readonly dns?: FetchSettings['dns']
  readonly self?: number
}

function fetcher({ allow = LOOPBACK, ca = '', dns = DNS, self = 0 }: Options = {}): FetchDocument {
  const authorities = () => (ca === '' ? [] : [ca])
  return createDocumentFetcher({ dns, addressGuard: { allow } }, (_address, port) => port === self, authorities)
}

async function resolving(t: TestContext, reply: DnsReply): Promise<FetchSettings['dns']> {
  const server = await startDnsServer(({ type }) => (type === 'A' ? reply : { kind: 'rcode', code: 'NXDOMAIN' }))
  t.after(() => server.close())
  return { ...DNS, servers: [server.address] }
}

async function keyServer(
  t: TestContext,
  answer: KeyServer['answer'],
  tls: Parameters<typeof startKeyServer>[1] = null,
): Promise<KeyServer> {
  const server = await startKeyServer(answer, tls)
  t.after(() => server.close())
  return server
}

test('https: the name is resolved by our resolver, asked for in SNI and Host, and found in the certificate', async (t) => {
  const pki = await createTestPki()
  const dns = await resolving(t, { kind: 'answer', addresses: ['127.0.0.1'], ttl: 60 })
  const hosts: unknown[] = []
  const server = await keyServer(
    t,
    (request, response) => {
      hosts.push(request.headers.host, request.url)
      response.end('{"x":1}')
    },
    await pki.serverCert(NAME),
  )
  const uri = `https://${NAME}:${server.port}/a?b=c`
  assert.equal(await fetcher({ dns, ca: pki.root })(uri, 5_000), '{"x":1}')
  assert.deepEqual(hosts, [`${NAME}:${server.port}`, '/a?b=c'])
  // Another CA, or a certificate for another name: nothing is asked.
  const other = await createTestPki()
  await assert.rejects(fetcher({ dns, ca: other.root })(uri, 5_000), /TLS_error/)
  const wrong = await keyServer(t, '{}', await pki.serverCert('other.example'))
  await assert.rejects(fetcher({ dns, ca: pki.root })(`https://${NAME}:${wrong.port}/`, 5_000), /TLS_error/)
  assert.deepEqual([hosts.length, wrong.asked.length], [2, 0])
})

test('a name that leads inside is not dialled; among several addresses only those that may be are', async (t) => {
  const server = await keyServer(t, '{}')
  const inside = await resolving(t, { kind: 'answer', addresses: ['127.0.0.1'], ttl: 60 })
  const uri = `http://${NAME}:${server.port}/`
  await assert.rejects(fetcher({ dns: inside, allow: [] })(uri, 5_000), /keys\.example is 127\.0\.0\.1 \(loopback\)/)
  const metadata = await resolving(t, { kind: 'answer', addresses: ['169.254.169.254', '127.0.0.1'], ttl: 60 })
  assert.equal(await fetcher({ dns: metadata })(uri, 5_000), '{}')
  await assert.rejects(fetcher({ dns: metadata, self: server.port })(uri, 5_000), /the gateway itself/)
  assert.equal(server.asked.length, 1)
})

test('no such name, no answer of the resolver, an address that does not listen beside one that does', async (t) => {
  const gone = await resolving(t, { kind: 'rcode', code: 'NXDOMAIN' })
  await assert.rejects(fetcher({ dns: gone })(`http://${NAME}/`, 5_000), /does not resolve: ENOTFOUND/)
  const silent = await resolving(t, { kind: 'silence' })
  await assert.rejects(fetcher({ dns: silent })(`http://${NAME}/`, 200), /no answer within 200 ms/)
  const server = await keyServer(t, '{}')
  const two = await resolving(t, { kind: 'answer', addresses: ['127.0.0.77', '127.0.0.1'], ttl: 60 })
  assert.equal(await fetcher({ dns: two })(`http://${NAME}:${server.port}/`, 5_000), '{}')
})

test('keys grow old: used while new ones come, waited for when very old, kept when none come', async (t) => {
  const [first, second] = [tokenKey('1', 'ES256'), tokenKey('2', 'ES256')]
  const server = await keyServer(t, jwksOf(first))
  const source = { kind: 'uri', uri: server.uri } as const
  const times = { ...KEY_TIMES, refreshMs: 100, staleMs: 1_000_000, retryMs: 1, maxRetryMs: 1 }
  const keys = new RemoteKeys(source, 5_000, fetcher(), SILENT, times)
  const kids = () => keys.peek()?.keys.map(({ kid }) => kid)
  assert.equal(keys.peek(), null)
  const [one, other] = await Promise.all([keys.current(), keys.current()])
  assert.equal(one, other)
  assert.equal(server.asked.length, 1)
  server.answer = jwksOf(second)
  await eventually('the keys are old', () => {
    // Never a promise: nobody waits for a refresh.
    assert.ok(!(keys.current() instanceof Promise))
    return server.asked.length > 1
  })
  await eventually('the new ones are there', () => kids()?.join() === '2')
  // The same text again is the same set: what it has verified stays so.
  const before = keys.peek()
  const asked = server.asked.length
  await eventually('they were asked for again, and once more: so the first answer has come', () => {
    void keys.current()
    return server.asked.length > asked + 1
  })
  assert.equal(keys.peek(), before)

  const stale = new RemoteKeys(source, 5_000, fetcher(), SILENT, { ...times, refreshMs: 0, staleMs: 0 })
  assert.deepEqual((await stale.current())?.keys.length, 1)
  server.answer = jwksOf(first)
  assert.deepEqual(
    (await stale.current())?.keys.map(({ kid }) => kid),
    ['1'],
  )
  // Nobody there any more: the first to ask finds out, whoever comes after him has the last good ones at once.
  await server.close()
  assert.deepEqual(
    (await stale.current())?.keys.map(({ kid }) => kid),
    ['1'],
  )
  await delay(5)
  assert.ok(!(stale.current() instanceof Promise))
  await eventually('it goes on trying', () => {
    assert.ok(!(stale.current() instanceof Promise))
    return stale.state().failed > 2
  })
})
