/**
 * loadtest/: the scripts fit k6 0.45's types and syntax; each is loaded and its code run, with recorders in the place of k6's modules; and
 * the mix that they send is sent, by Node, through a whole gateway with the resources of compose/gateway.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it, type TestContext, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import {
  type Answer,
  GATEWAY_NAME,
  type Identity,
  leaked,
  MIXES,
  rotation,
  type Step,
  verdict,
} from '../../loadtest/mix.js'
import { readBootstrap } from '../../src/config/bootstrap.ts'
import { METRICS } from '../../src/observe/metrics-doc.ts'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { documents, type Manifest, serviceEntry } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import { ROOT } from './compose-file.ts'
import { K6_NOW, type K6Request, loadScript } from './k6-world.ts'

const FOLDER = path.join(ROOT, 'loadtest')
const SCRIPTS = ['deny-mix', 'https-upgrade', 'load', 'reload-under-load', 'smoke', 'soak', 'spike', 'stress'] as const
const IDENTITIES = ['allowed', 'refused'] as const
const read = (name: string) => readFileSync(path.join(FOLDER, name), 'utf8')
const tsc = (project: string) =>
  spawnSync(process.execPath, [path.join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project], { encoding: 'utf8' })

describe('the scripts as text', () => {
  it('are all there, and README.md has each', () => {
    const found = readdirSync(FOLDER).filter((name) => name.endsWith('.js') && name !== 'mix.js')
    assert.deepEqual(
      found.toSorted(),
      SCRIPTS.map((name) => `${name}.js`),
    )
    for (const name of found) assert.ok(read('README.md').includes(`\`${name}\``), name)
  })

  it('fit the types of k6 0.45, and a slip would be seen', (t) => {
    const good = tsc(FOLDER)
    assert.equal(good.status, 0, good.stdout)
    const dir = mkdtempSync(path.join(ROOT, 'node_modules/.k6-types-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    const config = { extends: path.join(FOLDER, 'tsconfig.json'), include: ['slip.js'] }
    writeFileSync(path.join(dir, 'tsconfig.json'), JSON.stringify(config))
    writeFileSync(
      path.join(dir, 'slip.js'),
      "import http from 'k6/http'\nhttp.gett('http://a.example')\nhttp.get('http://a.example')\n",
    )
    const bad = tsc(dir)
    assert.match(bad.stdout, /slip\.js\(2,\d+\): error TS2551: .*gett/)
    assert.doesNotMatch(bad.stdout, /slip\.js\(3/)
  })

  it('use no syntax that k6 0.45 cannot parse (its compiler stops at ES2015)', () => {
    const TOO_NEW = /\?\.[A-Za-z[(]|\?\?|[{,]\s*\.\.\.|\basync\b|\bawait\b|\s\*\*\s|\bcatch \{|,\s*\)/
    const code = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '')
    const files = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'))
    for (const name of files) assert.equal(TOO_NEW.exec(code(read(name)))?.[0], undefined, name)
    for (const text of ['a?.b', 'a ?? b', '({ ...a })', 'async () => 1', '2 ** 3', 'try {} catch {}', 'f(a, )'])
      assert.match(code(text), TOO_NEW)
  })

  it('name ports and metrics that the gateway has', () => {
    const file = path.join(ROOT, 'compose/gateway/gateway.yaml')
    const { settings } = readBootstrap(file, { display: (name) => name }, (code, _, message) =>
      assert.fail(`${code} ${message}`),
    )
    assert.ok(settings !== null)
    const http = settings.ports.find(({ gatewayPort }) => gatewayPort === 80)
    assert.ok(read('lib/run.js').includes(`\`\${GATEWAY_NAME}:${http?.bindPort}\``))
    assert.ok(read('reload-under-load.js').includes(`:${settings.metrics.port}/stats/prometheus`))
    const known = METRICS.flatMap(({ rows }) => Object.keys(rows))
    for (const name of SCRIPTS)
      for (const [metric] of read(`${name}.js`).matchAll(/\b(?:sallyport|process|nodejs)_\w+/g))
        assert.ok(known.includes(metric), `${name}: ${metric}`)
  })
})

/** The answer that the mix expects of this request. */
function rightAnswer(step: Step): { status: number; headers: Record<string, string>; body: string | null } {
  const headers: Record<string, string> = step.reason === null ? {} : { 'X-Sallyport-Reason': step.reason }
  return { status: step.status, headers, body: step.contains }
}

function stepOf({ params }: K6Request, identity: Identity): Step {
  const steps = Object.values(MIXES).flatMap((mix) => mix[identity])
  return steps.find(({ name }) => name === params.tags['name']) ?? assert.fail(params.tags['name'])
}

/** Iterations of a script, each answered by `answer`; what was checked and counted. */
function iterate(script: { visit(): void }, identity: Identity, change: object, count = 20) {
  K6_NOW.checks.length = 0
  K6_NOW.counts.length = 0
  const requests: K6Request[] = []
  K6_NOW.respond = (each) => {
    requests.push(each)
    return { ...rightAnswer(stepOf(each, identity)), ...change }
  }
  for (K6_NOW.iteration = 0; K6_NOW.iteration < count; K6_NOW.iteration += 1) script.visit()
  const leaks = K6_NOW.counts.reduce((sum, { value }) => sum + value, 0)
  return { requests, leaks, checks: [...K6_NOW.checks] }
}

for (const name of SCRIPTS)
  for (const identity of IDENTITIES)
    test(`${name}.js as ${identity}`, async () => {
      const script = await loadScript(name, {
        IDENTITY: identity,
        CERTS: `/c/${identity}`,
        GATEWAY: 'gate.example:8080',
      })
      const { scenarios, thresholds, tlsAuth } = script.options
      for (const { exec } of Object.values(scenarios)) assert.equal(exec, 'visit')
      assert.deepEqual(tlsAuth, [
        { cert: `content of /c/${identity}/cert-chain.pem`, key: `content of /c/${identity}/key.pem` },
      ])

      const { requests, checks, leaks } = iterate(script, identity, {})
      assert.ok(checks.length >= 40 && checks.every(({ ok }) => ok))
      assert.equal(leaks, 0)
      for (const each of requests) {
        const step = stepOf(each, identity)
        assert.equal(each.url, `https://gate.example:8080${step.path}`)
        assert.deepEqual([each.method, each.body, each.params.headers['Host']], [step.method, step.body, step.host])
        assert.deepEqual(each.params.responseCallback, [step.status])
      }
      // A threshold on a tag that never comes fails every run of k6.
      const seen = new Set(checks.map(({ tags }) => `expect:${tags['expect']}`))
      const judged = Object.keys(thresholds).flatMap((key) => /\{(.*)\}/.exec(key)?.[1] ?? [])
      assert.deepEqual(new Set(judged.filter((tag) => tag !== 'expect:reload')), seen)

      assert.ok(iterate(script, identity, { status: 503 }).checks.some(({ ok }) => !ok))
      const opened = iterate(script, identity, { status: 200, headers: {} })
      assert.equal(opened.leaks, opened.requests.filter((each) => stepOf(each, identity).expect === 'deny').length)
    })

test('an environment that cannot be meant is refused', async () => {
  await assert.rejects(loadScript('load', { RATE: 'many' }), /RATE=many: a number above 0/)
  await assert.rejects(loadScript('stress', { PEAK: '-1' }), /PEAK=-1/)
  await assert.rejects(loadScript('load', { IDENTITY: 'admin' }), /IDENTITY=admin: allowed or refused/)
})

test('each script writes its summary as JSON and Markdown', async () => {
  for (const name of SCRIPTS) {
    const script = await loadScript(name, { RESULTS: 'out' })
    const metrics = {
      http_reqs: { values: { count: 120, rate: 9.876 } },
      'checks{expect:deny}': { values: { rate: 0.5 }, thresholds: { 'rate>=1': { ok: false } } },
      http_req_duration: { values: { med: 1.234, 'p(95)': 5, 'p(99)': 7, max: 9 } },
    }
    const files = script.handleSummary({ metrics })
    assert.deepEqual(Object.keys(files).toSorted(), [`out/${name}-allowed.json`, `out/${name}-allowed.md`, 'stdout'])
    assert.deepEqual(JSON.parse(files[`out/${name}-allowed.json`] ?? ''), { metrics })
    const text = files[`out/${name}-allowed.md`] ?? ''
    assert.match(text, /^\| `rate>=1` \| `checks\{expect:deny\}` \| \*\*NO\*\* \|$/m)
    assert.match(text, /^\| `http_req_duration` \| 1\.23 \| 5 \| 7 \| 9 \|$/m)
    assert.match(text, /Requests: 120, 9\.88 a second/)
  }
})

test('reload-under-load.js fails where no other configuration came, or the last one was rejected', async () => {
  const script = await loadScript('reload-under-load', {})
  const run = (generations: readonly [number, number], successful: number) => {
    K6_NOW.checks.length = 0
    let at = 0
    K6_NOW.respond = ({ url }) => {
      assert.equal(url, `http://${GATEWAY_NAME}:15090/stats/prometheus`)
      const generation = generations[at++] ?? 0
      const body = `# TYPE a gauge\nsallyport_config_generation ${generation}\nsallyport_config_last_reload_successful ${successful}\n`
      return { status: 200, headers: {}, body }
    }
    script.teardown?.(script.setup?.())
    return K6_NOW.checks.map(({ ok, tags }) => {
      assert.deepEqual(tags, { expect: 'reload' })
      return ok
    })
  }
  assert.deepEqual(run([1, 9], 1), [true, true])
  assert.deepEqual(run([4, 4], 1), [false, true])
  assert.deepEqual(run([1, 9], 0), [true, false])
})

test('a leak is an answer from outside where a refusal is due', () => {
  const [step] = MIXES.deny.refused
  assert.ok(step !== undefined)
  const answer = (status: number): Answer => ({ status, reason: null, body: null })
  assert.deepEqual(
    [200, 302, 403, 503, 0].map((status) => leaked(step, answer(status))),
    [true, true, false, false, false],
  )
})

test('a rotation has every step as often as its weight says, and spreads them', () => {
  const steps = rotation(MIXES.mixed.allowed)
  for (const step of MIXES.mixed.allowed) assert.equal(steps.filter((each) => each === step).length, step.weight)
  const upgraded = steps.flatMap(({ host }, at) => (host === 'upgraded.example' ? [at] : []))
  assert.ok((upgraded[1] ?? 0) - (upgraded[0] ?? 0) >= 3, String(upgraded))
})

/** Identities of compose/identities.txt: a policy in compose/gateway/resources/who.yaml lets the first one out. */
const CALLERS = { allowed: 'shop/frontend', refused: 'lab/notebook' } as const

test('the mix, by HTTP/1.1 and HTTP/2 and during reloads, through a gateway with the resources of compose/gateway', async (t) => {
  const { harness, arrivals } = await startComposeGateway(t)
  let sent = 0
  let allowed = 0
  for (const identity of IDENTITIES) {
    const svid = await harness.pki.svid(CALLERS[identity])
    // As k6 does: the gateway's own name, HTTP/2 where it is to be had (GODEBUG=http2client=0: HTTP/1.1).
    const connect = (alpn: readonly string[]) =>
      meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, servername: GATEWAY_NAME, alpn })
    const h1 = await connect(['http/1.1'])
    const h2 = await connect(['h2', 'http/1.1'])
    assert.equal(h2.alpnProtocol, 'h2')
    const session = h2Over(h2)
    const steps = Object.values(MIXES).flatMap((mix) => rotation(mix[identity]))
    for (const step of steps) {
      // As loadtest/README.md has it: another host, so another configuration, while the requests are under way.
      const generation = harness.gateway.active.generation
      const another = serviceEntry('reload', `reload-${sent}.example`, 80, { resolution: 'DNS' })
      const reload = harness.change({ 'reload.yaml': documents(another) })
      const { method, path: target, body } = step
      const options = { method, path: target, ...(body === null ? {} : { body }) }
      const answers = [await request(h1, step.host, options), await h2Request(session, step.host, options)]
      for (const { status, headers, body: bytes } of answers) {
        const reason = headers['x-sallyport-reason']
        const answer = { status, reason: typeof reason === 'string' ? reason : null, body: bytes.toString() }
        const wrong = Object.entries(verdict(step, answer)).filter(([, ok]) => !ok)
        assert.deepEqual(wrong, [], `${identity}: ${step.name}: ${JSON.stringify(answer)}`)
        assert.equal(leaked(step, answer), false)
        sent += 1
        if (step.expect === 'allow') allowed += 1
      }
      assert.deepEqual(await reload, { ok: true, errors: [] })
      assert.equal(harness.gateway.active.generation, generation + 1)
    }
    session.close()
    h1.destroy()
  }
  assert.equal(arrivals(), allowed)
  assert.ok(allowed > 0 && sent > allowed)
  await harness.stop(sent)
})

/** The resources as they are, but for the ports and the CA of the pretended Internet. */
async function startComposeGateway(t: TestContext) {
  const pki = await createTestPki()
  const plain = await startEchoOrigin()
  const secure = await startEchoOrigin({ tls: await pki.serverCert('upgraded.example') })
  const dns = await startDnsServer(({ type }) => ({
    kind: 'answer',
    addresses: type === 'A' ? ['127.0.0.1'] : [],
    ttl: 60,
  }))
  for (const each of [plain, secure, dns]) t.after(async () => each.close())
  const harness = await started(t, {
    pki,
    resources: {},
    spec: {
      ports: { 80: 0, 443: 0 },
      dns: { servers: [dns.address] },
      addressGuard: { allow: ['127.0.0.1/32'] },
    },
  })
  const folder = path.join(ROOT, 'compose/gateway/resources')
  const manifests = readdirSync(folder).flatMap((name) =>
    parseAllDocuments(
      readFileSync(path.join(folder, name), 'utf8').replaceAll('/etc/trust/outside.example.pem', harness.paths.caFile),
    ).map((each) => each.toJS() as Manifest),
  )
  for (const { kind, spec } of manifests)
    if (kind === 'ServiceEntry')
      for (const port of (spec as { ports: { number: number; targetPort?: number }[] }).ports)
        port.targetPort = port.number === 80 ? plain.port : secure.port
  assert.deepEqual(await harness.change({ 'all.yaml': documents(...manifests) }), { ok: true, errors: [] })
  return { harness, arrivals: () => plain.requests.length + secure.requests.length }
}
