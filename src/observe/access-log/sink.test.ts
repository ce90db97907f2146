/** The sink over real files and pipes: batches, caps, a reader that stalls, a reader that goes away, rotation, exit. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { createSink } from './sink.ts'
import { SinkError } from './target.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-sink-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1)

describe('a file', () => {
  test('is created with its directory, appended to, and written within the promised 200 ms', async () => {
    const path = join(directory, 'deep/er/access.log')
    const sink = createSink({ path })
    const started = performance.now()
    sink.write('{"n":1}\n')
    assert.equal(sink.backlog(), 8)
    const poll = Promise.withResolvers<void>()
    const timer = setInterval(() => {
      if (readFileSync(path, 'utf8') !== '') poll.resolve()
    }, 5)
    await poll.promise
    clearInterval(timer)
    assert.ok(performance.now() - started < 10_000, 'with the next lines, or never')
    await sink.close()
    const again = createSink({ path })
    again.write('{"n":"é\u{1F600}"}\n')
    await again.close()
    assert.deepEqual(linesOf(path), ['{"n":1}', '{"n":"é\u{1F600}"}'])
    assert.equal(again.dropped(), 0)
  })

  test('keeps the order of many lines, and flush waits for all taken before it', async () => {
    const path = join(directory, 'many.log')
    const sink = createSink({ path })
    const expected: string[] = []
    for (let n = 0; n < 20_000; n += 1) {
      const line = `{"n":${n},"pad":"${'x'.repeat(n % 200)}"}`
      expected.push(line)
      sink.write(`${line}\n`)
    }
    await sink.flush()
    assert.equal(sink.backlog(), 0)
    assert.deepEqual(linesOf(path), expected)
    await sink.close()
  })

  test('lines written as bytes and as text keep their order; one that fails leaves nothing of itself', async () => {
    const path = join(directory, 'bytes.log')
    const sink = createSink({ path })
    const expected: string[] = []
    for (let n = 0; n < 3000; n += 1) {
      const line = `${n} ${'é'.repeat(n % 50)}`
      expected.push(line)
      if (n % 3 === 0) sink.write(`${line}\n`)
      else sink.writeBytes((text, to) => to.encoded(`${text}\n`), line)
      if (n % 100 === 0)
        assert.throws(
          () =>
            sink.writeBytes((text, to) => {
              to.encoded(text)
              throw new Error('a mistake')
            }, 'half a line'),
          /a mistake/,
        )
    }
    assert.equal(sink.dropped(), 0)
    await sink.close()
    assert.deepEqual(linesOf(path), expected)
    sink.writeBytes((text, to) => to.encoded(text), 'late\n')
    assert.equal(sink.dropped(), 1)
  })

  test('one line more than there is room for is dropped whole, however it came', async () => {
    const path = join(directory, 'room.log')
    const sink = createSink({ path, maxBytes: 20 })
    sink.write('0123456789\n')
    sink.writeBytes((text, to) => to.encoded(text), '0123456789\n')
    sink.write('ééééé\n')
    sink.writeBytes((text, to) => to.encoded(text), '12345678\n')
    assert.equal(sink.backlog(), 20)
    assert.equal(sink.dropped(), 2)
    sink.writeBytes((text, to) => to.encoded(text), '\n')
    sink.write('\n')
    assert.equal(sink.dropped(), 4)
    await sink.close()
    assert.deepEqual(linesOf(path), ['0123456789', '12345678'])
  })

  test('reopen follows a rotation and loses nothing', async () => {
    const path = join(directory, 'rotated.log')
    const sink = createSink({ path })
    sink.write('one\n')
    await sink.flush()
    renameSync(path, `${path}.1`)
    sink.write('two\n')
    sink.reopen()
    sink.write('three\n')
    await sink.close()
    assert.deepEqual([...linesOf(`${path}.1`), ...linesOf(path)], ['one', 'two', 'three'])
    assert.deepEqual(linesOf(path).at(-1), 'three')
  })

  test('after close lines are dropped and counted, and closing twice is closing once', async () => {
    const sink = createSink({ path: join(directory, 'closed.log') })
    await Promise.all([sink.close(), sink.close()])
    sink.write('late\n')
    assert.equal(sink.dropped(), 1)
    await sink.flush()
  })

  test('what cannot be opened is an error that names the path', () => {
    assert.throws(
      () => createSink({ path: directory }),
      (error) => error instanceof SinkError && error.message.includes(directory) && /EISDIR/.test(error.message),
    )
    writeFileSync(join(directory, 'plain'), '')
    assert.throws(() => createSink({ path: join(directory, 'plain/access.log') }), SinkError)
    // Below /proc mkdir(2) says ENOENT although the parent is there; Node's recursive mkdir then never returns.
    assert.throws(() => createSink({ path: '/proc/sallyport/access.log' }), SinkError)
  })

  test('a full disk is reported once, traffic goes on, memory is capped', async () => {
    const errors: string[] = []
    const sink = createSink({
      path: '/dev/full',
      maxBytes: 10_000,
      onError: (error) => errors.push((error as NodeJS.ErrnoException).code ?? ''),
    })
    for (let n = 0; n < 100; n += 1) {
      sink.write(`${'x'.repeat(999)}\n`)
      await sink.flush(1)
    }
    assert.deepEqual(errors, ['ENOSPC'])
    assert.ok(sink.backlog() <= 10_000)
    assert.equal(sink.dropped(), 90)
    await sink.close(10)
  })
})

/** Starts a program that logs to its stdout, a pipe to us, and reports over IPC. */
function startWriter(program: string): ChildProcess {
  const source = `
    import { createSink } from ${JSON.stringify(new URL('./sink.ts', import.meta.url).href)}
    const say = (message) => new Promise((resolve) => process.send(message, resolve))
    const line = (n) => JSON.stringify({ n, pad: 'x'.repeat(500) }) + '\\n'
    ${program}`
  return spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
}

async function message(child: ChildProcess): Promise<Record<string, unknown>> {
  const [value] = (await once(child, 'message')) as [Record<string, unknown>]
  return value
}

describe('stdout as a pipe', { concurrency: false }, () => {
  test('a stalled reader: the writer goes on, memory is capped, whole lines are dropped and counted; later it recovers', async () => {
    const child = startWriter(`
      const sink = createSink({ path: '/dev/stdout', maxBytes: 1_000_000 })
      const TOTAL = 10_000
      let ticks = 0
      for (let n = 0; n < TOTAL; n += 1) {
        sink.write(line(n))
        if (n % 100 === 0) { await new Promise(setImmediate); ticks += 1 }
      }
      await say({ total: TOTAL, dropped: sink.dropped(), backlog: sink.backlog(), ticks })
      await new Promise((resolve) => process.once('message', resolve))
      await sink.flush(10_000)
      sink.write(line('last'))
      await sink.close(10_000)
      await say({ dropped: sink.dropped(), backlog: sink.backlog() })
      process.disconnect()`)
    const { stdout } = child
    assert.ok(stdout)
    // Nobody reads stdout yet: the pipe fills up after 64 KB.
    const stalled = await message(child)
    assert.equal(stalled['ticks'], 100)
    assert.ok((stalled['dropped'] as number) > 5000, `dropped ${String(stalled['dropped'])}`)
    assert.ok((stalled['backlog'] as number) <= 1_000_000)
    let text = ''
    stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    child.send('read')
    const [recovered, [code]] = await Promise.all([message(child), once(child, 'close')])
    assert.equal(code, 0)
    assert.equal(recovered['backlog'], 0)
    const numbers = text
      .split('\n')
      .slice(0, -1)
      .map((each) => (JSON.parse(each) as { n: unknown }).n)
    assert.equal(numbers.at(-1), 'last')
    assert.equal(numbers.length - 1 + (recovered['dropped'] as number), stalled['total'])
    const kept = numbers.slice(0, -1) as number[]
    assert.deepEqual(
      kept,
      kept.toSorted((a, b) => a - b),
    )
  })

  test('a stalled reader does not keep the process from ending', async () => {
    const child = startWriter(`
      const sink = createSink({ path: '/dev/stdout' })
      for (let n = 0; n < 2000; n += 1) sink.write(line(n))
      await sink.flush(50)
      await say({ backlog: sink.backlog() })
      process.exit(7)`)
    const stalled = await message(child)
    assert.ok((stalled['backlog'] as number) > 500_000)
    const [code] = (await once(child, 'exit')) as [number]
    assert.equal(code, 7)
    child.stdout?.destroy()
  })

  test('what was taken before an abrupt process.exit is written', async () => {
    const child = startWriter(`
      const sink = createSink({ path: '/dev/stdout' })
      sink.write(line(1))
      process.exit(0)`)
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    await once(child, 'close')
    assert.deepEqual((JSON.parse(text) as { n: number }).n, 1)
  })

  test('a reader that goes away: reported once, later lines dropped and counted', async () => {
    const child = startWriter(`
      const errors = []
      const sink = createSink({ path: '/dev/stdout', maxBytes: 5000, onError: (error) => errors.push(error.code) })
      await new Promise((resolve) => process.once('message', resolve))
      for (let n = 0; n < 100; n += 1) sink.write(line(n))
      await sink.flush(100)
      await say({ errors, dropped: sink.dropped(), backlog: sink.backlog() })
      await sink.close(10)
      process.disconnect()`)
    child.stdout?.destroy()
    child.send('go')
    const [gone, [code]] = await Promise.all([message(child), once(child, 'exit')])
    assert.deepEqual(gone['errors'], ['EPIPE'])
    assert.ok((gone['dropped'] as number) > 80)
    assert.ok((gone['backlog'] as number) <= 5000)
    assert.equal(code, 0)
  })

  test('a slow pipe is used at its speed: 8 MB pass a 64 KB pipe in well under the 12 s that pauses of 100 ms would take', async () => {
    const child = startWriter(`
      const sink = createSink({ path: '/dev/stdout', maxBytes: 64_000_000 })
      const started = performance.now()
      for (let n = 0; n < 15_000; n += 1) sink.write(line(n))
      await sink.close(30_000)
      await say({ ms: performance.now() - started, dropped: sink.dropped() })
      process.disconnect()`)
    child.stdout?.resume()
    const [result] = await Promise.all([message(child), once(child, 'exit')])
    assert.equal(result['dropped'], 0)
    assert.ok((result['ms'] as number) < 9000, `${String(result['ms'])} ms`)
  })
})
