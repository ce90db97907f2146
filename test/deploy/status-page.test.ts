/**
 * The status page in a real browser: what it shows, at phone and desktop width, light and dark, live, and nothing from elsewhere.
 * With SALLYPORT_PICTURES set, the README's picture is taken anew.
 */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { askControl } from '../integration/operator.ts'
import { missing } from '../sidecars/program.ts'
import { startBrowser, type View } from './browser.ts'
import { PER_ROUND, startMixedTraffic } from './mixed-traffic.ts'

const VIEWS = {
  'desktop, light': { width: 1280, height: 900, scheme: 'light', mobile: false },
  'desktop, dark': { width: 1280, height: 900, scheme: 'dark', mobile: false },
  'phone, light': { width: 390, height: 844, scheme: 'light', mobile: true },
  'phone, dark': { width: 390, height: 844, scheme: 'dark', mobile: true },
} as const satisfies Record<string, View>
/** Other workloads, so that the table of callers and destinations is one. */
const VISITS = [
  ['shop/checkout', 'secure.example', 200, 7],
  ['billing/sync', 'secure.example', 200, 4],
  ['billing/sync', 'named.example', 200, 2],
  ['reports/nightly', 'site.example', 200, 3],
  ['reports/nightly', 'unregistered.example', 502, 2],
] as const
const VISITED = VISITS.reduce((sum, [, , , times]) => sum + times, 0)
const PICTURES = resolve(import.meta.dirname, '../../docs/images')

/** Contrast (WCAG 2.2) of every text with what is behind it: the lowest ratio and whose it is. */
const LOWEST_CONTRAST = `(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor)
      if (colour.length === 3 || colour[3] > 0) return colour
    }
    return [255, 255, 255]
  }
  let lowest = [99, '']
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '')) continue
    if (element.checkVisibility && !element.checkVisibility()) continue
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    if (ratio < lowest[0]) lowest = [ratio, element.outerHTML.slice(0, 120)]
  }
  return lowest
})()`

test('the status page', { skip: missing('chromium', ['--version']), timeout: 300_000 }, async (t) => {
  const traffic = await startMixedTraffic(t)
  const { harness } = traffic
  for (const [identity, host, status, times] of VISITS)
    for (let i = 0; i < times; i += 1) assert.equal(await traffic.visit(identity, host), status)
  for (let i = 0; i < 3; i += 1) await traffic.round()
  const tunnel = await traffic.openTunnel()
  const url = `http://127.0.0.1:${harness.gateway.control?.admin.port}/`
  const tab = await startBrowser(t)

  for (const [name, view] of Object.entries(VIEWS))
    await t.test(name, async () => {
      await tab.open(url, view)
      assert.equal(await tab.evaluate('innerWidth'), view.width)
      // Only tables may be wider than the screen, and those scroll by themselves.
      assert.ok((await tab.evaluate<number>('document.documentElement.scrollWidth')) <= view.width, 'scrolls sideways')
      const text = await tab.evaluate<string>('document.body.innerText')
      for (const word of ['LIVE', 'istio-system/istio-egressgateway', 'shop/cart', 'site.example', 'rbac_denied'])
        assert.ok(text.includes(word), word)
      const dark = await tab.evaluate<boolean>('getComputedStyle(document.body).backgroundColor === "rgb(16, 22, 28)"')
      assert.equal(dark, view.scheme === 'dark')
      const [ratio, element] = await tab.evaluate<[number, string]>(LOWEST_CONTRAST)
      assert.ok(ratio >= 4.5, `contrast ${ratio}: ${element}`)
      // A picture that is all one colour would be an empty page: it would compress to next to nothing.
      const picture = await tab.picture(false)
      assert.ok(picture.length > 20_000, `${picture.length} bytes`)
      if (view === VIEWS['desktop, light'] && process.env['SALLYPORT_PICTURES'] !== undefined) {
        mkdirSync(PICTURES, { recursive: true })
        writeFileSync(join(PICTURES, 'status.png'), picture)
      }
    })

  await t.test('numbers, tables and live changes', async () => {
    await tab.open(url, VIEWS['desktop, light'])
    const judged = 'Number(document.querySelector(".tile b").textContent)'
    // The end of a tunnel is counted a moment after its caller has left.
    await eventually(
      'the page counts all',
      async () => (await tab.evaluate(judged)) === 3 * PER_ROUND.requests + VISITED,
    )
    const rows = await tab.evaluate<string[]>('[...document.querySelectorAll("main tr")].map((row) => row.innerText)')
    assert.ok(rows.some((row) => /shop\/cart.*DELETE site\.example\/.*rbac_denied.*no-delete.*403/s.test(row)))
    assert.ok(
      rows.some((row) => /carried\.example\s*tunnel/.test(row)),
      'routes and tunnels',
    )
    assert.ok(rows.some((row) => /DENY.*dry run.*no-errors/s.test(row)))
    assert.ok(rows.some((row) => /dry run: refuse/.test(row)))
    const cell = await tab.evaluate<string>(
      '[...document.querySelectorAll(".matrix tr")].find((row) => row.innerText.includes("shop/cart")).innerText',
    )
    // site.example: per round two answers and one refusal.
    assert.match(cell, /✓ 6\s+✕ 3/, 'of site.example')
    await traffic.round()
    await eventually(
      'the page follows by itself',
      async () => (await tab.evaluate(judged)) === 4 * PER_ROUND.requests + VISITED,
      60_000,
    )
    const failed = await harness.change({ 'broken.yaml': 'kind: Gateway\napiVersion: [<img src=x onerror=alert(1)>' })
    assert.equal(failed.ok, false)
    await eventually(
      'a refused reload shows, as text',
      async () =>
        (await tab.evaluate<string>('document.querySelector("[role=alert]")?.innerText ?? ""')).includes('broken.yaml'),
      60_000,
    )
    assert.equal(await tab.evaluate('document.querySelectorAll("img").length'), 0)
  })

  await t.test('what a caller sends is text, whatever it holds', async () => {
    assert.equal(
      await traffic.visit(
        'shop/cart',
        'site.example',
        '/<script>document.title="owned"</script>"onmouseover="x?token=secret',
      ),
      200,
    )
    await tab.open(url, VIEWS['desktop, light'])
    const state = await tab.evaluate<{ text: string; title: string; scripts: number; handlers: number }>(
      '({ text: document.body.innerText, title: document.title, scripts: document.scripts.length, handlers: document.querySelectorAll("[onmouseover]").length })',
    )
    assert.ok(state.text.includes('script'), state.text)
    assert.ok(!state.text.includes('secret'), 'no query')
    assert.deepEqual(
      [state.title, state.scripts, state.handlers],
      ['istio-system/istio-egressgateway – Sallyport', 1, 0],
    )
  })

  await t.test('nothing from elsewhere, nothing forbidden, and no frame', async () => {
    assert.deepEqual(
      tab.requests.filter((each) => !each.startsWith(url)),
      [],
    )
    // A browser asks every site for its icon; there is none.
    assert.deepEqual(
      tab.complaints.filter((each) => !each.includes('favicon.ico')),
      [],
    )
    const { headers } = await askControl(harness, 'admin', '/')
    const policy = String(headers['content-security-policy'])
    assert.match(policy, /^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; connect-src 'self'/)
    assert.ok(!policy.includes('unsafe') && policy.includes("frame-ancestors 'none'"))
    // The policy does what it says: a script that is not ours does not run.
    const ran = await tab.evaluate<boolean>(
      '(() => { const script = document.createElement("script"); script.textContent = "window.ran = true"; document.head.append(script); return window.ran === true })()',
    )
    assert.equal(ran, false)
  })

  await t.test('/status.json has the same', async () => {
    const report = JSON.parse((await askControl(harness, 'admin', '/status.json')).body) as Record<string, unknown>
    assert.deepEqual(Object.keys(report), [
      'state',
      'server',
      'totals',
      'lastReload',
      'decisions',
      'callers',
      'routes',
      'policies',
      'certificates',
    ])
    assert.equal((report['decisions'] as unknown[]).length, 50)
    assert.ok(!JSON.stringify(report).includes('secret'))
  })
  tunnel.destroy()
})
