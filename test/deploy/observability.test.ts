/** Dashboard and alert rules against the tables of metrics, without a server: names, labels, layout, and promtool's cases. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing } from '../sidecars/program.ts'
import { unknownNames } from './metric-names.ts'
import { alertNames, alertsWithCase, dashboard, OBSERVABILITY, panelQueries } from './observability-files.ts'

test('every panel asks for metrics and labels that exist', () => {
  const queries = panelQueries()
  assert.ok(queries.length > 80, String(queries.length))
  assert.deepEqual(
    queries.flatMap(({ panel, expr, legend }) => unknownNames(expr, legend).map((problem) => `${panel}: ${problem}`)),
    [],
  )
  for (const { expr } of dashboard().annotations.list) assert.deepEqual(unknownNames(expr), [])
})

test('every panel keeps to the gateways that were chosen', () => {
  for (const { panel, expr } of panelQueries())
    for (const [selector] of expr.matchAll(/\b(?:sallyport|istio|envoy|process|nodejs)_\w+(?:\{[^}]*\})?/g))
      assert.ok(selector.includes('job=~"$job",instance=~"$instance"'), `${panel}: ${selector}`)
})

test('panels do not overlap, and are numbered once', () => {
  const { panels, uid } = dashboard()
  assert.equal(uid, 'sallyport')
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const taken = new Map<string, string>()
  for (const { title, gridPos } of panels) {
    assert.ok(gridPos.x >= 0 && gridPos.x + gridPos.w <= 24, title)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        assert.equal(taken.get(`${x} ${y}`), undefined, `${title} lies on ${taken.get(`${x} ${y}`)}`)
        taken.set(`${x} ${y}`, title)
      }
  }
})

test('every alert asks for metrics and labels that exist', () => {
  const text = readFileSync(join(OBSERVABILITY, 'rules.yaml'), 'utf8')
  const expressions = [...text.matchAll(/^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)/gm)].map(
    ([, block, line]) => block ?? line ?? '',
  )
  assert.equal(expressions.length, alertNames().length)
  for (const expr of expressions) assert.deepEqual(unknownNames(expr), [], expr)
})

test('every alert has a case in which it fires', () => {
  assert.ok(alertNames().length >= 15)
  assert.deepEqual([...alertsWithCase()].sort(), [...alertNames()].sort())
})

test('promtool agrees', { skip: missing('promtool', ['--version']) }, () => {
  for (const args of [
    ['check', 'rules', 'rules.yaml'],
    ['test', 'rules', 'rules.test.yaml'],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: OBSERVABILITY, encoding: 'utf8' })
    assert.equal(status, 0, `${stdout}${stderr}`)
  }
})

test('the check of names finds what is wrong', () => {
  assert.deepEqual(unknownNames('sum(rate(sallyport_request_total[5m]))'), ['no metric sallyport_request_total'])
  assert.deepEqual(unknownNames('sallyport_requests_total{principal="x"}'), [
    'sallyport_requests_total has no label principal',
  ])
  assert.deepEqual(unknownNames('sum by (host) (sallyport_requests_total)'), ['no metric of it has the label host'])
  assert.deepEqual(unknownNames('sum(sallyport_requests_total)', '{{decision}}'), [
    "the legend's decision was summed away",
  ])
  assert.deepEqual(unknownNames('sum by (le) (istio_request_duration_milliseconds_bucket)'), [])
  assert.deepEqual(unknownNames('istio_requests_total_bucket'), ['no metric istio_requests_total_bucket'])
})
