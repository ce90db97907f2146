/** Lines are made when a turn of the event loop ends: none may get lost on the way there. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ExchangeRecord } from '../observe/record.ts'
import type { LogPlan } from '../runtime/snapshot.ts'
import { AccessLog } from './access-log.ts'

/** Only what the plans below print. */
const record = (path: string) => ({ path }) as ExchangeRecord

const planned = (path: string): { readonly accessLogs: readonly LogPlan[] } => ({
  accessLogs: [
    {
      path,
      filter: null,
      print: (of, line) => {
        if (of.path === '/broken') throw new Error('cannot be printed')
        line.encoded(`${of.path}\n`)
      },
    },
  ],
})

function fileFor(t: TestContext, name: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-access-log-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return join(dir, name)
}

function opened(plan: ReturnType<typeof planned>): AccessLog {
  const log = new AccessLog((error) => assert.fail(error))
  log.adopt(log.prepare(plan), plan)
  return log
}

test('one line that cannot be made costs the others of its turn nothing', async (t) => {
  const file = fileFor(t, 'access.log')
  const log = opened(planned(file))
  for (const path of ['/a', '/broken', '/b', '/c']) log.write(record(path))
  assert.throws(() => log.settle(), /cannot be printed/)
  await log.close()
  assert.equal(readFileSync(file, 'utf8'), '/a\n/b\n/c\n')
})

test('what ended before a reload goes where it went before, whatever the turn', async (t) => {
  const [before, after] = [fileFor(t, 'before.log'), fileFor(t, 'after.log')]
  const log = opened(planned(before))
  log.write(record('/a'))
  const next = planned(after)
  log.adopt(log.prepare(next), next)
  log.write(record('/b'))
  await log.flush()
  await log.close()
  assert.deepEqual([readFileSync(before, 'utf8'), readFileSync(after, 'utf8')], ['/a\n', '/b\n'])
})

test('a process that ends in the middle of a turn has written its lines', (t) => {
  const file = fileFor(t, 'access.log')
  const code = `
    import { AccessLog } from ${JSON.stringify(import.meta.resolve('./access-log.ts'))}
    const log = new AccessLog(() => {})
    const accessLogs = [{ path: ${JSON.stringify(file)}, filter: null, print: (of, line) => line.encoded(of.path + '\\n') }]
    log.adopt(log.prepare({ accessLogs }), { accessLogs })
    log.write({ path: '/last' })
    process.exit(3)`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })
  assert.equal(status, 3, stderr)
  assert.equal(readFileSync(file, 'utf8'), '/last\n')
})
