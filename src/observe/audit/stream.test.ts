import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../testing/eventually.ts'
import { AuditStream } from './stream.ts'

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-audit-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A named pipe and its reading end. */
function pipe(t: TestContext): { readonly path: string; readonly fd: number } {
  const path = join(directory(t), 'pipe')
  execFileSync('mkfifo', [path])
  return { path, fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) }
}

/** Everything that can be read at this moment. */
function readAll(fd: number): string {
  const buffer = Buffer.alloc(1 << 20)
  let all = ''
  for (;;) {
    let count: number
    try {
      count = readSync(fd, buffer)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return all
      throw error
    }
    if (count === 0) return all
    all += buffer.toString('utf8', 0, count)
  }
}

test('a line is in the file when write returns, behind what is there', async (t) => {
  const path = join(directory(t), 'deep', 'er', 'audit.log')
  const first = new AuditStream({ path })
  first.write('one\n')
  assert.equal(readFileSync(path, 'utf8'), 'one\n')
  assert.deepEqual(await first.close(), [])
  const second = new AuditStream({ path })
  second.write('two\n')
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
  assert.deepEqual(await second.close(), [])
})

test('a path that cannot be opened is an error that names it', () => {
  assert.throws(() => new AuditStream({ path: '/proc/nowhere/audit.log' }), /\/proc\/nowhere\/audit\.log/)
})

test('a file that is moved away is followed by a new one', async (t) => {
  const path = join(directory(t), 'audit.log')
  const stream = new AuditStream({ path })
  stream.write('before\n')
  renameSync(path, `${path}.1`)
  let written = 0
  const after = await eventually('the new file', () => {
    stream.write('after\n')
    written += 1
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return null
    }
  })
  assert.deepEqual(await stream.close(), [])
  assert.equal(readFileSync(`${path}.1`, 'utf8') + after, `before\n${'after\n'.repeat(written)}`)
})

test('a full disk: nothing is lost, the outage is told once, and its end', async (t) => {
  const path = join(directory(t), 'audit.log')
  symlinkSync('/dev/full', path)
  const states: (string | null)[] = []
  const stream = new AuditStream({ path, onState: (error) => states.push(error === null ? null : error.message) })
  stream.write('one\n')
  stream.write('two\n')
  assert.equal(stream.backlog, 2)
  assert.match(stream.failure?.message ?? '', /ENOSPC/)
  rmSync(path)
  await eventually('the disk has room', () => stream.failure === null)
  stream.write('three\n')
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\nthree\n')
  assert.equal(states.length, 2)
  assert.match(states[0] ?? '', /ENOSPC/)
  assert.equal(states[1], null)
  assert.deepEqual(await stream.close(), [])
})

test('what a full disk never takes comes back at the end', async (t) => {
  const path = join(directory(t), 'audit.log')
  symlinkSync('/dev/full', path)
  const stream = new AuditStream({ path })
  stream.write('one\n')
  stream.write('two\n')
  assert.deepEqual(await stream.close(50), ['one\n', 'two\n'])
  assert.deepEqual(await stream.close(), [])
})

test('a stalled reader: kept up to the limit and said so, whole and in order once it reads', async (t) => {
  const { path, fd } = pipe(t)
  const states: boolean[] = []
  let full = 0
  const options = { path, graceMs: 50, maxBytes: 300_000, onFull: () => (full += 1) }
  const stream = new AuditStream({ ...options, onState: (error) => states.push(error !== null) })
  const lines = Array.from({ length: 100 }, (_, i) => `${i} ${'x'.repeat(5000)}\n`)
  const started = performance.now()
  for (const line of lines) stream.write(line)
  // The patience is spent once, not per line.
  assert.ok(performance.now() - started < 3000)
  assert.ok(stream.full)
  assert.equal(full, 1)
  await eventually('the outage', () => stream.failure !== null)
  let received = ''
  await eventually('all of it', () => {
    received += readAll(fd)
    return received.length === lines.join('').length
  })
  assert.equal(received, lines.join(''))
  await eventually('the end of the outage', () => stream.failure === null)
  assert.equal(stream.full, false)
  assert.deepEqual(states, [true, false])
  assert.deepEqual(await stream.close(), [])
  closeSync(fd)
})

test('a reader that goes and comes back (EPIPE): the lines of the time between follow', async (t) => {
  const { path, fd } = pipe(t)
  const stream = new AuditStream({ path })
  stream.write('one\n')
  assert.equal(readAll(fd), 'one\n')
  closeSync(fd)
  stream.write('two\n')
  assert.match(stream.failure?.message ?? '', /EPIPE/)
  const again = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  await eventually('the line', () => stream.backlog === 0)
  assert.equal(readAll(again), 'two\n')
  assert.deepEqual(await stream.close(), [])
  closeSync(again)
})

test('on a stdout that is shared with the access log neither tears the lines of the other', async () => {
  const modules = ['../access-log/sink.ts', './stream.ts'].map((each) => JSON.stringify(import.meta.resolve(each)))
  const program = `
    const { createSink } = await import(${modules[0]})
    const { AuditStream } = await import(${modules[1]})
    const sink = createSink({ path: '/dev/stdout', maxBytes: 1 << 28 })
    const audit = new AuditStream({ path: '/dev/stdout' })
    for (let i = 0; i < 2000; i += 1) {
      sink.write('a' + String(i).padStart(6, '0') + 'x'.repeat(3000) + '\\n')
      if (i % 4 === 0) audit.write('b' + String(i).padStart(6, '0') + 'y'.repeat(6000) + '\\n')
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const left = await audit.close(60000)
    await sink.close(60000)
    if (left.length > 0 || sink.dropped() > 0) process.exit(3)
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const reading = text(child.stdout)
  const [code] = (await once(child, 'exit')) as [number]
  assert.equal(code, 0)
  const lines = (await reading).split('\n')
  assert.equal(lines.pop(), '')
  const numbers = (kind: string) =>
    lines.filter((line) => line.startsWith(kind)).map((line) => Number(line.slice(1, 7)))
  for (const line of lines) assert.match(line, /^(?:a\d{6}x{3000}|b\d{6}y{6000})$/)
  assert.deepEqual(
    numbers('a'),
    Array.from({ length: 2000 }, (_, i) => i),
  )
  assert.deepEqual(
    numbers('b'),
    Array.from({ length: 500 }, (_, i) => i * 4),
  )
})
