/**
 * What the README shows is so: its YAML is that of config/shop, each row of the table below it is what `sallyport explain` says and what a
 * running gateway does, and the two-minute walk, typed as it stands there, prints what its comments say.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, it, type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { parse, stringify } from 'yaml'
import { COMMANDS } from '../../src/cli/args.ts'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { freePort } from '../integration/operator.ts'
import { started } from '../integration/started.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const README = readFileSync(path.join(ROOT, 'README.md'), 'utf8')
const EXAMPLE = path.join(ROOT, 'config/shop')
const RESOURCES = readFileSync(path.join(EXAMPLE, 'resources/shop.yaml'), 'utf8')

/** The text between this heading and the next one. */
function section(heading: string): string {
  const [, rest] = README.split(`\n## ${heading}\n`)
  assert.ok(rest !== undefined, `README.md has no section ${heading}`)
  return rest.split('\n## ')[0] ?? ''
}

const blocks = (text: string, language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(([, body = '']) => body)

type Row = {
  /** `NS/SA`; null: without a certificate. */
  readonly caller: string | null
  readonly method: string
  readonly url: string
  /** null: allowed. */
  readonly refusal: { readonly status: number | null; readonly reason: string } | null
  /** Where it leaves for: `https` or `tls`, host, port; null where it is refused. */
  readonly way: { readonly scheme: string; readonly host: string; readonly port: number } | null
  readonly because: string
}

const YAML_SECTION = section('Your YAML, and what comes of it')

/** TABLE of the README, row by row. @throws on a row that says something else than this understands */
const ROWS: readonly Row[] = [
  ...YAML_SECTION.matchAll(/^\| (nobody|`[\w/-]+`) \| `([^`]+)` \| (.+?) \| (.+?) \|$/gm),
].map(([whole, caller = '', asks = '', gets = '', because = '']) => {
  const [method = '', url = ''] = asks.includes(' ') ? asks.split(' ') : ['', asks]
  const refused = /^(?:(\d{3})|closed) `(\w+)`$/.exec(gets)
  const way = /^leaves for `(\w+):\/\/([\w.-]+):(\d+)`/.exec(because)
  assert.ok(gets === 'allowed' ? way !== null : refused !== null, `what does this row say? ${whole}`)
  return {
    caller: caller === 'nobody' ? null : caller.replaceAll('`', ''),
    method,
    url,
    refusal: refused === null ? null : { status: Number(refused[1]) || null, reason: refused[2] ?? '' },
    way: way === null ? null : { scheme: way[1] ?? '', host: way[2] ?? '', port: Number(way[3]) },
    because,
  }
})
const titleOf = ({ caller, method, url }: Row) => `${caller ?? 'nobody'} ${method} ${url}`.replace('  ', ' ')

test('the YAML of the README is config/shop, which its text describes', () => {
  const [shown] = blocks(YAML_SECTION, 'yaml')
  assert.equal(shown, RESOURCES)
  const { metadata, spec } = parse(readFileSync(path.join(EXAMPLE, 'gateway.yaml'), 'utf8')) as {
    readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> }
    readonly spec: { readonly ports: Readonly<Record<string, number>> }
  }
  for (const text of [
    `named \`${metadata.name}\``,
    `labelled \`istio: ${metadata.labels['istio']}\``,
    `\`ports: { ${Object.entries(spec.ports)
      .map(([from, to]) => `${from}: ${to}`)
      .join(', ')} }\``,
  ])
    assert.ok(YAML_SECTION.includes(text), text)
})

test('every line of the table is understood', () => {
  const lines = YAML_SECTION.split('\n').filter((line) => line.startsWith('| '))
  assert.equal(lines.length, ROWS.length + 1, 'all but the heading')
  assert.ok(ROWS.length >= 10)
})

type Explained = {
  readonly allowed: boolean
  readonly status: number | null
  readonly reason: string | null
  readonly decidedBy: { readonly policy: string } | null
  readonly upstream: string | null
}

describe('sallyport explain says of each row of the README’s table', () => {
  // It asks no DNS: addresses are judged by the running gateway alone.
  for (const row of ROWS.filter(({ refusal }) => refusal?.reason !== 'address_denied'))
    it(titleOf(row), async () => {
      const from = row.caller === null ? [] : ['--from', idOf(row.caller)]
      const port = row.url.startsWith('tls:') ? ['--port', '443'] : []
      const target = row.method === '' ? [row.url] : [row.method, row.url]
      const [code, out] = await explained(['-o', 'json', ...from, ...port, ...target])
      const { allowed, status, reason, decidedBy, upstream } = JSON.parse(out) as Explained
      assert.deepEqual([code, allowed], row.refusal === null ? [0, true] : [1, false])
      assert.equal(reason, row.refusal?.reason ?? null)
      if (row.refusal !== null && row.refusal.status !== null) assert.equal(status, row.refusal.status)
      const [, policy, rule] = /`([\w-]+)`, rule (\d)/.exec(row.because) ?? []
      if (policy !== undefined) assert.ok(JSON.stringify(decidedBy).includes(`policy[${policy}]-rule[${rule}]`))
      if (row.way !== null) {
        const { scheme, host, port: to } = row.way
        assert.ok(upstream?.includes(`${host}:${to}`) === true || upstream?.includes(`the requested name, port ${to}`))
        assert.equal(upstream?.includes('(TLS SIMPLE'), scheme === 'https')
      }
    })
})

const idOf = (caller: string) => `spiffe://cluster.local/ns/${caller.replace('/', '/sa/')}`

async function explained(args: readonly string[]): Promise<readonly [number | undefined, string]> {
  let out = ''
  const write = (text: string) => (out += text)
  const code = await COMMANDS['explain']?.main(['-f', path.join(EXAMPLE, 'gateway.yaml'), ...args], {
    stdout: { write },
    stderr: { write },
  })
  return [code, out]
}

/** Where every site's name leads: nobody listens there, so that what leaves is seen to leave, and ends in UF. */
const SITES = '127.61.7.9'

test('a running gateway does what each row of the README’s table says', async (t) => {
  const dns = await startDnsServer(({ name, type }) => ({
    kind: 'answer',
    addresses: type === 'A' ? [name.startsWith('inside.') ? '10.1.2.3' : SITES] : [],
    ttl: 60,
  }))
  t.after(() => dns.close())
  const harness = await shop(t, dns.address)
  for (const [index, row] of ROWS.entries()) {
    const answer = await ask(harness, row)
    const line = (await harness.lines(index + 1))[index] ?? assert.fail(titleOf(row))
    assert.equal(line['reason'], row.refusal?.reason ?? null, titleOf(row))
    assert.equal(line['downstream_peer_uri_san'], row.caller === null ? null : idOf(row.caller), titleOf(row))
    if (row.refusal !== null) assert.equal(answer, row.refusal.status, titleOf(row))
    if (row.way === null) continue
    assertLeft(line, row.way, titleOf(row))
    const { host } = row.way
    assert.ok(dns.questions.some(({ name }) => name === host))
  }
  await harness.stop(ROWS.length)
})

function assertLeft(line: LogLine, { host, port }: NonNullable<Row['way']>, title: string): void {
  assert.match(String(line['response_flags']), /^UF\b/, title)
  assert.match(String(line['upstream_transport_failure_reason']), /Connection refused/, title)
  const [, clusterPort, pattern = ''] = /^outbound\|(\d+)\|\|(.*)$/.exec(String(line['upstream_cluster'])) ?? []
  assert.equal(Number(clusterPort), port, title)
  assert.ok(host === pattern || host.endsWith(pattern.replace(/^\*/, '')), `${title}: ${pattern}`)
}

/** config/shop in a harness; policies mean the ports really bound, so those are free ones, and written in their place. */
async function shop(t: TestContext, dns: string): Promise<Harness> {
  const ports = { 8080: await freePort(), 8443: await freePort() }
  const moved = (text: string) =>
    Object.entries(ports).reduce((all, [from, to]) => all.replaceAll(from, String(to)), text)
  return started(t, {
    resources: { 'shop.yaml': moved(RESOURCES) },
    bootstrap: ({ identity, accessLog }) => {
      const document = parse(moved(readFileSync(path.join(EXAMPLE, 'gateway.yaml'), 'utf8'))) as {
        readonly spec: Record<string, unknown>
      }
      const files = ['cert-chain.pem', 'key.pem', 'root-cert.pem'].map((name) => path.join(identity, name))
      const [certificateChain, privateKey, trustBundle] = files
      const anywhere = { address: '127.0.0.1', port: 0 }
      Object.assign(document.spec, {
        identity: { certificateChain, privateKey, trustBundle },
        bindAddress: '127.0.0.1',
        meshConfig: { accessLogFile: accessLog, connectTimeout: '2s' },
        dns: { servers: [dns] },
        addressGuard: { allow: [`${SITES}/32`] },
        admin: anywhere,
        metrics: anywhere,
        health: anywhere,
      })
      return stringify(document)
    },
  })
}

/** The status; null: closed without an answer. */
async function ask(harness: Harness, { caller, method, url }: Row): Promise<number | null> {
  const [namespace = '', account = ''] = caller?.split('/') ?? []
  const svid = caller === null ? null : await harness.pki.svid(`${namespace}/${account}`)
  const [, scheme, host = '', target = '/'] = /^(\w+):\/\/([^/]+)(\/.*)?$/.exec(url) ?? []
  if (scheme === 'tls') {
    const servername = 'outbound_.443_._.istio-egressgateway.istio-system.svc.cluster.local'
    const below = await meshConnect({
      port: harness.gateway.port(443),
      svid,
      ca: harness.pki.root,
      servername,
      alpn: ['istio'],
    })
    const inner = tls.connect({ socket: below, servername: host, rejectUnauthorized: false })
    // How it ends, with an error or without, the access log says better.
    await new Promise<void>((resolve) => void inner.on('error', () => {}).once('close', () => resolve()))
    return null
  }
  const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
  if (caller === null) {
    if (!socket.closed) await once(socket, 'close')
    return null
  }
  const { status } = await request(socket, host, { method, path: target })
  socket.destroy()
  return status
}

/** The walk in a directory of its own, every port another one; `bin/` is the checkout's. */
async function walk(t: TestContext, commands: string): Promise<string> {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-readme-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  mkdirSync(path.join(dir, 'certs'))
  symlinkSync(path.join(ROOT, 'bin'), path.join(dir, 'bin'))
  cpSync(path.join(ROOT, 'config'), path.join(dir, 'config'), { recursive: true })
  let text = commands.replace(/^npm ci$/m, 'set -e')
  const bootstrap = path.join(dir, 'config/local/gateway.yaml')
  let settings = readFileSync(bootstrap, 'utf8')
  const listen = path.join(dir, 'config/local/resources')
  const resources = readdirSync(listen).map((name) => path.join(listen, name))
  for (const from of ['18080', '8080', '15000', '15021', '15090']) {
    const to = String(await freePort())
    const moved = (before: string) => before.replaceAll(new RegExp(`(?<!\\d)${from}(?!\\d)`, 'g'), to)
    text = moved(text)
    settings = moved(settings)
    for (const file of resources) writeFileSync(file, moved(readFileSync(file, 'utf8')))
  }
  writeFileSync(bootstrap, settings)
  const bash = spawn('bash', ['-c', text], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  // The whole group: the gateway and the pretended site, whatever became of the walk.
  t.after(() => {
    try {
      process.kill(-(bash.pid ?? 0), 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  })
  let [out, err] = ['', '']
  bash.stdout.setEncoding('utf8').on('data', (part: string) => (out += part))
  bash.stderr.setEncoding('utf8').on('data', (part: string) => (err += part))
  const [code] = (await once(bash, 'close')) as [number | null]
  assert.equal(code, 0, `${out}\n${err}`)
  return out
}

test('the two minutes of the README, as they stand there', { timeout: 110_000 }, async (t) => {
  const text = section('Two minutes to a refused and an allowed request')
  const [, end = ''] = /`(kill %1 %2; rm [^`]+)`/.exec(text) ?? []
  assert.notEqual(end, '')
  // Explain's exit code says "refused".
  const commands = blocks(text, 'sh')
    .join('')
    .replace(/^(\.\/bin\/sallyport explain .*)$/m, '$1 || [ $? = 1 ]')
  const out = await walk(t, `${commands}\ncurl -s 127.0.0.1:15000/ | head -c 15\necho\n${end}\nwait || true\n`)
  // Each comment behind a call begins with what it prints.
  const promised = [...commands.matchAll(/^call [^#\n]*# ([^\n0-9]*?\d{3})/gm)].map(([, said = '']) => said)
  assert.equal(promised.length, 6)
  let at = 0
  for (const said of promised) {
    // The site's answer ends its line, the gateway's refusal does not.
    const printed = said.replace(/ (?=\d{3}$)/, said.startsWith('hello') ? '\n' : '')
    at = out.indexOf(printed, at)
    assert.ok(at >= 0, `${said}\n${out}`)
    at += printed.length
  }
  for (const [, line = ''] of text.matchAll(/^# +(policy|rule\[0\] MATCHES|matches: .*|→ refused: 403 rbac_denied)/gm))
    assert.ok(out.includes(line), line)
  assert.match(
    out,
    /^sallyport_requests_total\{[^}]*destination_host="mine\.example"[^}]*response_code="200"[^}]*\} 1$/m,
  )
  assert.match(out, /^sallyport_requests_total\{[^}]*decision="deny"[^}]*response_code="403"[^}]*\} 1$/m)
  assert.ok(out.includes('<!doctype html>'))
})
