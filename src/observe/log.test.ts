/** The operational log: one JSON line each, levels that change at run time, no secrets. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createLog, parseLogLevel } from './log.ts'

function collect() {
  const lines: string[] = []
  return {
    sink: { write: (line: string) => void lines.push(line) },
    lines,
    parsed: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

describe('log', () => {
  test('a line has time, level, fields and message', () => {
    const { sink, lines, parsed } = collect()
    createLog(sink).warning('reload refused', { file: 'a.yaml', line: 3 })
    assert.equal(lines.length, 1)
    assert.ok(lines[0]?.endsWith('\n'))
    const [line] = parsed()
    assert.equal(line?.['level'], 'warning')
    assert.equal(line?.['message'], 'reload refused')
    assert.equal(line?.['file'], 'a.yaml')
    assert.ok(Math.abs(Date.parse(String(line?.['time'])) - Date.now()) < 60_000)
  })

  test('the level can be changed while it runs, for children too', () => {
    const { sink, parsed } = collect()
    const log = createLog(sink, 'warning')
    const child = log.child({ listener: '0.0.0.0_8080' })
    child.info('not shown')
    log.setLevel('debug')
    child.debug('shown')
    log.setLevel('off')
    child.critical('not shown')
    assert.deepEqual(
      parsed().map((line) => [line['level'], line['message'], line['listener']]),
      [['debug', 'shown', '0.0.0.0_8080']],
    )
    assert.equal(child.level(), 'off')
  })

  test('secrets are taken out of fields, errors and messages', () => {
    const { sink, lines } = collect()
    createLog(sink).error('cannot reach redis://u:hunter2@h', {
      error: new Error('-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----', {
        cause: { password: 'hunter3' },
      }),
    })
    assert.doesNotMatch(lines.join(''), /hunter|MIIE/)
    assert.match(lines.join(''), /"type":"Error"/)
  })

  test('a message cannot forge a line', () => {
    const { sink, lines } = collect()
    createLog(sink).info('a\n{"level":"critical"}', { name: 'x\ny' })
    assert.equal(lines.join('').split('\n').length, 2)
  })

  test('level names of Envoy and pino are understood, others are not', () => {
    assert.deepEqual(
      ['debug', 'WARN', 'warning', 'fatal', 'critical', 'off', 'silent', 'loud', ''].map(parseLogLevel),
      ['debug', 'warning', 'warning', 'critical', 'critical', 'off', 'off', null, null],
    )
  })
})
