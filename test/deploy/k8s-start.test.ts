/** What k8s/ mounts starts, with the files laid out as in the pod, and the paths that probes and Prometheus ask for answer. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { Gateway } from '../../src/app/gateway.ts'
import { COMMANDS } from '../../src/cli/args.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { createSink } from '../../src/observe/access-log/sink.ts'
import { createLog } from '../../src/observe/log.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { INSTALLABLE, type Installation, installation, NAME } from './installation.ts'
import { layOutPod } from './pod-files.ts'

const ALLOW = 'examples/allow-one-host'
const CALLER = 'spiffe://cluster.local/ns/mytest/sa/sleep'

async function startedPod(t: TestContext, installed: Installation) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-pod-'))
  const pki = await createTestPki()
  const { namespace = '' } = installed.objects.find(({ kind }) => kind === 'Deployment')?.metadata ?? {}
  const svid = await pki.svid(`${namespace}/${installed.pod.serviceAccountName}`, {
    dns: [`${NAME}.${namespace}.svc.cluster.local`],
  })
  const { configFile, asMounted, accessLog } = layOutPod(dir, installed, svid)
  const sink = createSink({ path: path.join(dir, 'operational.log') })
  const gateway = await Gateway.start({ configFile, log: createLog(sink, 'info'), watch: false })
  t.after(async () => {
    await gateway.close()
    await sink.close()
    rmSync(dir, { recursive: true, force: true })
  })
  return { gateway, pki, asMounted, accessLog }
}

for (const dir of [...INSTALLABLE, ALLOW])
  test(`${dir} starts, answers probes and Prometheus, and refuses what nobody allowed`, async (t) => {
    const installed = installation(dir)
    const { gateway, pki, asMounted, accessLog } = await startedPod(t, installed)
    const { diagnostics } = loadConfiguration(asMounted)
    assert.deepEqual(
      diagnostics.filter(({ severity }) => severity !== 'info'),
      [],
    )

    const health = `http://127.0.0.1:${gateway.control?.health.port}`
    for (const { httpGet } of [installed.container.startupProbe, installed.container.readinessProbe])
      assert.equal((await fetch(health + httpGet?.path)).status, 200, httpGet?.path)
    assert.equal((await fetch(`${health}/elsewhere`)).status, 404, 'any path would do otherwise')

    type PodMonitor = { readonly podMetricsEndpoints: readonly { readonly path: string }[] }
    const [endpoint] = installed.spec<PodMonitor>('PodMonitor').podMetricsEndpoints
    const metrics = await fetch(`http://127.0.0.1:${gateway.control?.metrics.port}${endpoint?.path}`)
    assert.equal(metrics.status, 200)
    assert.match(await metrics.text(), /^sallyport_config_last_reload_successful 1$/m)

    const sleep = await pki.svid(CALLER)
    for (const port of [80, 444]) {
      const socket = await meshConnect({ port: gateway.port(port), svid: sleep, ca: pki.root })
      const { status, headers } = await request(socket, 'unknown.example')
      // An ALLOW policy that does not match is asked before the registry.
      const expected = dir === ALLOW ? [403, 'rbac_denied'] : [502, 'not_registered']
      assert.deepEqual([status, headers['x-sallyport-reason']], expected, `port ${port}`)
      socket.destroy()
    }
    const lines = await eventually('two lines', () => {
      const text = readFileSync(accessLog, 'utf8').trimEnd().split('\n')
      return text.length === 2 ? text : null
    })
    for (const line of lines) {
      const record = JSON.parse(line) as Readonly<Record<string, unknown>>
      assert.equal(record['downstream_peer_uri_san'], CALLER)
    }
  })

test('the example of one host allows what its comment says, and nothing else', async (t) => {
  const { asMounted } = await startedPod(t, installation(ALLOW))
  const explained = async (from: string, method: string, url: string) => {
    let out = ''
    const write = (text: string) => (out += text)
    const code = await COMMANDS['explain']?.main(['-f', asMounted, '--from', from, method, url], {
      stdout: { write },
      stderr: { write },
    })
    return [code, out] as const
  }
  const [code, out] = await explained(CALLER, 'GET', 'http://httpbin.org/get')
  assert.equal(code, 0, out)
  assert.match(out, /outbound\|443\|\|httpbin\.org/)
  for (const [from, method, url] of [
    [CALLER, 'POST', 'http://httpbin.org/post'],
    [CALLER, 'GET', 'http://example.com/'],
    ['spiffe://cluster.local/ns/mytest/sa/other', 'GET', 'http://httpbin.org/get'],
    ['spiffe://cluster.local/ns/other/sa/sleep', 'GET', 'http://httpbin.org/get'],
  ] as const)
    assert.equal((await explained(from, method, url))[0], 1, `${from} ${method} ${url}`)
})
