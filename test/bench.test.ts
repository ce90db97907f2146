/**
 * `npm run bench` works: the whole of it with one short workload, once with the tools that this machine has and once
 * with none of them (the peers absent, the load by Node). Figures are not looked at: this machine is busy with tests.
 */
import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { ALLOWED, type Expected, exchange, REFUSED } from '../bench/load/exchange.ts'
import { findTools } from '../bench/load/tools.ts'
import { problemOf } from '../bench/load/wrk.ts'
import { readOptions, UsageError } from '../bench/measure/options.ts'
import { inRounds, ratios, spread } from '../bench/measure/rounds.ts'
import { markdownTable } from '../bench/measure/table.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const skip = process.platform === 'linux' ? false : 'CPU times are read from /proc: only on Linux'

function bench(args: readonly string[], env: Readonly<Record<string, string>> = {}): SpawnSyncReturns<string> {
  const node = path.join(ROOT, 'bin/sallyport-node')
  const options = { encoding: 'utf8', timeout: 110_000, env: { ...process.env, ...env } } as const
  return spawnSync(node, [path.join(ROOT, 'bench/bench.ts'), ...args], options)
}

/** First cells of the one table's rows. */
function rows(output: string): readonly string[] {
  const cells = output.split('\n').flatMap((line) => /^\| ([^|]+) \| [\d.]+ \|/.exec(line)?.[1] ?? [])
  return cells.map((cell) => cell.trim())
}

test('one workload, one short round, with the tools of this machine', { skip }, (t) => {
  const tools = findTools()
  const peers = (['haproxy', 'nginx'] as const).filter((each) => tools.has(each))
  for (const each of ['haproxy', 'nginx', 'wrk', 'cc'] as const)
    if (!tools.has(each)) t.diagnostic(`NOT TESTED: ${each} is not installed`)
  const { status, stdout, stderr } = bench([
    'W1',
    '--engine',
    'http-proxy',
    '--rounds',
    '1',
    '--seconds',
    '1',
    '--warm-up',
    '1',
  ])
  assert.equal(status, 0, stdout + stderr)
  const names = { haproxy: 'HAProxy', nginx: 'nginx' }
  assert.deepEqual(rows(stdout), ['Sallyport http-proxy', ...peers.map((each) => names[each])])
  assert.match(stdout, /### W1: mTLS HTTP\/1\.1 in, plain HTTP\/1\.1 out/)
  for (const each of peers) assert.match(stdout, new RegExp(`÷ ${names[each]} \\|`))
})

test('without any tool: the peers are named as absent, the load is Node’s, and it says so', { skip }, (t) => {
  const env = { PATH: bareMachine(t) }
  const { status, stdout, stderr } = bench(
    ['W6', '--engine', 'http-proxy', '--rounds', '1', '--seconds', '1', '--warm-up', '1'],
    env,
  )
  assert.equal(status, 0, stdout + stderr)
  assert.deepEqual(rows(stdout), ['Sallyport http-proxy', 'Sallyport http-proxy, allowed'])
  assert.match(stdout, /Absent: HAProxy, nginx\./)
  assert.match(stdout, /Load by Node, for want of wrk and cc/)
  assert.match(stdout, /Site: a Node server, for want of nginx/)
})

/** A PATH with only what bin/sallyport itself needs. */
function bareMachine(t: TestContext): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-path-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const places = (process.env['PATH'] ?? '').split(':')
  for (const name of ['sh', 'readlink', 'dirname']) {
    const found = places.map((place) => path.join(place, name)).find((file) => existsSync(file))
    assert.ok(found !== undefined, `${name} is not on PATH`)
    symlinkSync(found, path.join(dir, name))
  }
  return dir
}

test('usage: unknown workloads, engines and counts are refused', () => {
  assert.equal(bench(['W99']).status, 2)
  for (const argv of [['--engine', 'envoy'], ['--rounds', '0'], ['--seconds', 'x'], ['--nonsense']])
    assert.throws(() => readOptions(argv), UsageError, argv.join(' '))
  const options = readOptions(['W1', 'W3', '--engine', 'wire', '--rounds', '7'])
  assert.deepEqual([options?.workloads, options?.engines, options?.rounds], [['W1', 'W3'], ['wire'], 7])
})

test('an answer other than the expected one is an error', async (t) => {
  const server = createServer((request, response) => {
    const body = request.headers.host === ALLOWED.host ? ALLOWED.body : 'something else'
    response.writeHead(200, { 'content-length': body.length }).end(body)
  }).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.once('listening', resolve))
  const ask = async (expected: Expected) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    await exchange(socket, expected).finally(() => socket.destroy())
  }
  await ask(ALLOWED)
  await assert.rejects(ask(REFUSED), /expected 403/)
  await assert.rejects(ask({ ...ALLOWED, host: 'x.example' }), /expected 200 with 1024 bytes/)
})

test('a run of wrk with one wrong answer, a broken connection or too few bytes is refused', () => {
  const good = { requests: 10, micros: 1e6, bytes: 20_000, broken: 0, statusErrors: 0, p50: 1, p99: 2 }
  assert.equal(problemOf(good, ALLOWED), null)
  assert.equal(problemOf({ ...good, statusErrors: 10 }, REFUSED), null)
  assert.match(problemOf({ ...good, statusErrors: 1 }, ALLOWED) ?? '', /1 of 10 answers/)
  assert.match(problemOf({ ...good, statusErrors: 9 }, REFUSED) ?? '', /9 of 10 answers/)
  assert.match(problemOf({ ...good, broken: 1 }, ALLOWED) ?? '', /broke/)
  assert.match(problemOf({ ...good, bytes: 10_239 }, ALLOWED) ?? '', /too few/)
  assert.match(problemOf({ ...good, requests: 0 }, ALLOWED) ?? '', /nothing/)
})

test('rounds are interleaved, the warm-up is thrown away, ratios are those within a round', async () => {
  const order: string[] = []
  const subject = (name: string, costs: readonly number[]) => {
    let at = 0
    const measure = async () => {
      order.push(name)
      return { cost: costs[at++] ?? Number.NaN, details: [at === 1 ? 1000 : 7] }
    }
    return { name, measure }
  }
  const subjects = [subject('a', [99, 10, 30, 20]), subject('b', [99, 5, 10, 20])]
  const samples = await inRounds(subjects, 3, 1, () => {})
  assert.equal(order.join(''), 'abababab')
  assert.deepEqual(ratios(samples[0] ?? [], samples[1] ?? []), { min: 1, q1: 1.5, median: 2, q3: 2.5, max: 3 })
  assert.deepEqual(spread([4, 1, 3, 2]), { min: 1, q1: 1.75, median: 2.5, q3: 3.25, max: 4 })
  const columns = { cost: 'µs', digits: 1, details: [{ name: 'd', digits: 0 }], bases: ['b', 'absent'] }
  assert.equal(
    markdownTable(columns, subjects, samples),
    [
      '|  | µs | min | d | ÷ b |',
      '|---|--:|--:|--:|--:|',
      '| a | 20.0 | 10.0 | 7 | 2.00 (1.00–3.00; ½ 1.50–2.50) |',
      '| b | 10.0 | 5.0 | 7 | 1 |',
    ].join('\n'),
  )
  await assert.rejects(
    inRounds([subject('c', [])], 1, 0, () => {}),
    /c: no figure/,
  )
})
