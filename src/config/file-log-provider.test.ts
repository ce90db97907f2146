/** `envoyFileAccessLog` in the bootstrap: what it comes to, and where its mistakes are reported. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ExtensionProvider } from '../model/extension-providers.ts'
import { checkAccessLogFormat } from '../observe/access-log/format.ts'
import { readBootstrap } from './bootstrap.ts'
import { collectDiagnostics } from './report.ts'

/** The providers, and `CODE line:col message` of every finding. */
function read(t: TestContext, providers: string): [readonly ExtensionProvider[] | undefined, readonly string[]] {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-config-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const file = path.join(dir, 'gateway.yaml')
  const text = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: { name: g, namespace: istio-system }
spec:
  meshConfig:
    extensionProviders:
${providers}`
  writeFileSync(file, text)
  const { report, sorted } = collectDiagnostics()
  const { settings } = readBootstrap(file, { display: () => 'gateway.yaml', checkAccessLogFormat }, report)
  const found = sorted().map(({ code, line, col, message }) => `${code} ${line}:${col} ${message}`)
  return [settings?.mesh.extensionProviders, found]
}

const logOf = (provider: ExtensionProvider | undefined) =>
  provider?.type === 'envoyFileAccessLog'
    ? [provider.path, provider.encoding, provider.format, provider.omitEmptyValues]
    : null

test('text, labels, neither, and the built-in envoy', (t) => {
  const [providers = [], found] = read(
    t,
    `      - name: text
        envoyFileAccessLog: { path: /log/text, logFormat: { text: "%PROTOCOL%" }, omitEmptyValues: true }
      - name: labels
        envoyFileAccessLog:
          logFormat: { labels: { code: "%RESPONSE_CODE%", some_key: { fixed: 1, list: ["%PROTOCOL%", true] } } }
      - name: empty
        envoyFileAccessLog: { path: "", logFormat: { labels: {} } }
      - name: neither
        envoyFileAccessLog: { path: /dev/stderr }
      - name: envoy
        envoyFileAccessLog: { path: /log/envoy }
      - name: metrics
        prometheus: {}
`,
  )
  assert.deepEqual(found, [])
  const json = '{"code":"%RESPONSE_CODE%","some_key":{"fixed":1,"list":["%PROTOCOL%",true]}}'
  assert.deepEqual(providers.map(logOf), [
    ['/log/text', 'TEXT', '%PROTOCOL%', true],
    ['/dev/stdout', 'JSON', json, false],
    ['/dev/stdout', 'JSON', '', false],
    ['/dev/stderr', 'TEXT', '', false],
    ['/log/envoy', null, '', false],
    null,
  ])
})

test('every mistake at its own place', (t) => {
  const [providers, found] = read(
    t,
    `      - name: a
        envoyFileAccessLog:
          path: logs/a.log
      - name: b
        envoyFileAccessLog:
          logFormat:
            labels:
              good: "%PROTOCOL%"
              bad: "%NO_SUCH%"
              deep: { list: ["%REQ%"] }
      - name: c
        envoyFileAccessLog:
          logFormat:
            text: "x %START_TIME(%Q)%"
      - name: d
        envoyFileAccessLog: { logFormat: { text: a, labels: { a: b } } }
`,
  )
  assert.equal(providers, undefined)
  assert.deepEqual(
    found.map((each) =>
      each.replace(/(SP\d+ \d+:\d+).*?(unknown \w+|needs an argument|not absolute|text and as labels).*/, '$1 $2'),
    ),
    [
      'SP8404 9:17 not absolute',
      'SP8404 15:20 unknown operator',
      'SP8404 16:30 needs an argument',
      'SP8404 20:19 unknown conversion',
      'SP8404 22:31 text and as labels',
    ],
  )
})
