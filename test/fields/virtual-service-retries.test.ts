/** Each field of a rule's `retries` (behaviour §4.6), by what origins see and callers get. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deadPort, failingOrigin, OK, UNAVAILABLE } from '../../src/testing/failing-origin.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { outcome, retrySite } from './retry-site.ts'

const bad = (socket: { write(text: string): boolean }): boolean => socket.write(UNAVAILABLE)

test('field VirtualService.http[].retries: without it two retries of what could not be connected to, and of nothing else', async (t) => {
  const dead = await deadPort()
  const site = await retrySite(t, { endpoints: [{ port: dead }], retries: null })
  const answer = await site.get()
  assert.equal(answer.status, 503)
  assert.match(
    answer.body,
    /^upstream connect error or disconnect\/reset before headers\. retried and the latest reset/,
  )
  assert.equal((await outcome(site))[1], 'UF,URX')
  assert.deepEqual(
    [await site.stat('upstream_cx_connect_fail'), await site.stat('upstream_rq_retry_limit_exceeded')],
    [3, 1],
  )
  await site.harness.stop(1)

  await using failing = await failingOrigin(9, ({ socket }) => bad(socket))
  const other = await retrySite(t, { endpoints: [{ port: failing.origin.port }], retries: null })
  assert.deepEqual([(await other.get()).status, failing.seen()], [503, 1])
  assert.deepEqual(await outcome(other), [503, '-', 'via_upstream'])
  await other.harness.stop(1)
})

test('field VirtualService.http[].retries.attempts: so many tries after the first; 0 is none', async (t) => {
  for (const attempts of [0, 1, 4]) {
    await using failing = await failingOrigin(99, ({ socket }) => bad(socket))
    const site = await retrySite(t, {
      endpoints: [{ port: failing.origin.port }],
      retries: attempts === 0 ? { attempts } : { attempts, retryOn: '5xx', backoff: '1ms' },
    })
    const answer = await site.get()
    assert.deepEqual([answer.status, answer.body, failing.seen()], [503, 'bad', attempts + 1])
    assert.deepEqual(await outcome(site), [503, attempts === 0 ? '-' : 'URX', 'via_upstream'])
    await site.harness.stop(1)
  }
  // Not even elsewhere.
  await using origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
  const dead = await deadPort()
  const site = await retrySite(t, { endpoints: [{ port: dead }, { port: origin.port }], retries: { attempts: 0 } })
  const statuses = [(await site.get()).status, (await site.get()).status]
  assert.deepEqual(
    statuses.toSorted((a, b) => a - b),
    [200, 503],
  )
  assert.equal(await site.stat('upstream_cx_total'), 2)
  await site.harness.stop(2)
})

test('field VirtualService.http[].retries.retryOn: names and codes say what is tried again', async (t) => {
  const endings = {
    '500': 'HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n',
    '503': UNAVAILABLE,
    '409': 'HTTP/1.1 409 X\r\ncontent-length: 0\r\n\r\n',
    '418': 'HTTP/1.1 418 X\r\ncontent-length: 0\r\n\r\n',
    grpc: 'HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n',
    limited: 'HTTP/1.1 429 X\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\n\r\n',
    closed: null,
  }
  for (const [retryOn, retried] of [
    ['5xx', ['500', '503', 'closed']],
    ['gateway-error', ['503', 'closed']],
    ['reset', ['closed']],
    ['retriable-4xx', ['409']],
    ['418', ['418']],
    ['retriable-status-codes,418, 409', ['409', '418']],
    ['unavailable', ['grpc']],
    ['envoy-ratelimited', ['limited']],
    ['connect-failure,refused-stream,reset-before-request,retriable-headers,internal', []],
  ] as const) {
    let ending: string | null = null
    let seen = 0
    await using origin = await startRawOrigin({
      onRequest: ({ socket }) => {
        seen++
        if (seen > 1) socket.write(OK)
        else if (ending === null) socket.end()
        else socket.write(ending)
      },
    })
    const site = await retrySite(t, {
      endpoints: [{ port: origin.port }],
      retries: { attempts: 1, retryOn, backoff: '1ms' },
    })
    const again: string[] = []
    for (const [name, bytes] of Object.entries(endings)) {
      ending = bytes
      seen = 0
      const answer = await site.get({ method: 'POST', headers: { 'content-length': '0' } })
      if (seen === 2 && answer.body === 'ok') again.push(name)
    }
    assert.deepEqual(again.toSorted(), [...retried].toSorted(), retryOn)
    await site.harness.stop(Object.keys(endings).length)
  }
})

test('field VirtualService.http[].retries.perTryTimeout: a try that says nothing is given up; the last one is 504', async (t) => {
  await using failing = await failingOrigin(1, () => undefined)
  const retries = { attempts: 1, perTryTimeout: '2s', retryOn: '5xx', backoff: '1ms' }
  const site = await retrySite(t, { endpoints: [{ port: failing.origin.port }], retries })
  assert.deepEqual([(await site.get()).status, failing.seen()], [200, 2])
  assert.equal(await site.stat('upstream_rq_per_try_timeout'), 1)
  await site.harness.stop(1)

  await using silent = await failingOrigin(99, () => undefined)
  const never = await retrySite(t, { endpoints: [{ port: silent.origin.port }], retries })
  const answer = await never.get()
  assert.deepEqual([answer.status, answer.body, silent.seen()], [504, 'upstream request timeout', 2])
  assert.deepEqual(await outcome(never), [504, 'UT,URX', 'upstream_per_try_timeout'])
  await never.harness.stop(1)
})

test('field VirtualService.http[].retries.backoff: the time before another try', async (t) => {
  // Jittered over a day and a quarter: that it is over within the route's timeout has a chance of 1 in 200,000.
  for (const [backoff, status, seen] of [
    ['1ms', 200, 2],
    ['30h', 504, 1],
  ] as const) {
    await using failing = await failingOrigin(1, ({ socket }) => bad(socket))
    const site = await retrySite(t, {
      endpoints: [{ port: failing.origin.port }],
      retries: { attempts: 1, retryOn: '5xx', backoff },
      rule: { timeout: '1500ms' },
    })
    assert.deepEqual([(await site.get()).status, failing.seen()], [status, seen], backoff)
    await site.harness.stop(1)
  }
})

test('field VirtualService.http[].retries.retryIgnorePreviousHosts: other endpoints first, unless it is false', async (t) => {
  const heads: number[] = []
  const origins = await Promise.all(
    [0, 1, 2, 3].map((index) =>
      startRawOrigin({
        onRequest: ({ socket }) => {
          heads.push(index)
          bad(socket)
        },
      }),
    ),
  )
  t.after(async () => {
    for (const origin of origins) await origin.close()
  })
  for (const [setting, distinct] of [
    [{}, true],
    [{ retryIgnorePreviousHosts: true }, true],
    [{ retryIgnorePreviousHosts: false }, false],
  ] as const) {
    const site = await retrySite(t, {
      endpoints: origins.map(({ port }) => ({ port })),
      retries: { attempts: 3, retryOn: '5xx', backoff: '1ms', ...setting },
      policy: { loadBalancer: { simple: 'RANDOM' } },
    })
    let always = true
    // By chance four tries hit four endpoints once in ten times; not twenty times in a row.
    for (let i = 0; i < 20; i++) {
      heads.length = 0
      await site.get()
      assert.equal(heads.length, 4)
      if (new Set(heads).size < 4) always = false
    }
    assert.equal(always, distinct, JSON.stringify(setting))
    await site.harness.stop(20)
  }
})

test('field VirtualService.http[].retries.retryRemoteLocalities: the third try may go to another locality', async (t) => {
  const near = await deadPort()
  await using far = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
  for (const [setting, status] of [
    [{}, 503],
    [{ retryRemoteLocalities: false }, 503],
    [{ retryRemoteLocalities: true }, 200],
  ] as const) {
    const site = await retrySite(t, {
      endpoints: [
        { port: near, locality: 'here/a' },
        { port: far.port, locality: 'there/a' },
      ],
      retries: { attempts: 2, retryOn: 'connect-failure', backoff: '1ms', ...setting },
      labels: { 'topology.kubernetes.io/region': 'here', 'topology.kubernetes.io/zone': 'a' },
      // Without outlier detection Istio prefers no locality.
      policy: {
        loadBalancer: { simple: 'ROUND_ROBIN', localityLbSetting: { enabled: true } },
        outlierDetection: { consecutive5xxErrors: 1_000, interval: '1h' },
      },
    })
    assert.equal((await site.get()).status, status, JSON.stringify(setting))
    assert.equal(await site.stat('upstream_cx_connect_fail'), status === 200 ? 2 : 3)
    await site.harness.stop(1)
  }
})
