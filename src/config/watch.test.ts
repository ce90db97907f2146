/** Real files, real renames; a change must be seen with events and, as a last resort, by the poll alone. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { watchConfiguration } from './watch.ts'

type Calls = { readonly next: () => Promise<number>; readonly count: () => number }

/** A watcher on nothing yet, a fresh directory, and the watcher's calls as promises. */
function start(t: TestContext, prepare: (directory: string) => void, pollMs: number) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-watch-'))
  prepare(directory)
  let count = 0
  let wake: (count: number) => void = () => {}
  const calls: Calls = {
    next: () => new Promise((resolve) => (wake = resolve)),
    count: () => count,
  }
  const onChange = () => {
    count += 1
    wake(count)
  }
  const watcher = watchConfiguration([], onChange, { stableMs: 60, pollMs })
  // Keeps the event loop alive: the watcher's own timers do not.
  const alive = setInterval(() => {}, 1_000)
  t.after(() => {
    clearInterval(alive)
    watcher.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return { directory, calls, watcher }
}

/** Names the paths and waits for the look at them: a path that is new is reported once. */
async function settled(
  watcher: { update: (paths: readonly string[]) => void },
  calls: Calls,
  paths: readonly string[],
) {
  const called = calls.next()
  watcher.update(paths)
  await called
}

test('a rewritten file, a new file, a removed file', async (t) => {
  const { directory, calls, watcher } = start(t, (d) => writeFileSync(path.join(d, 'a.yaml'), 'one'), 60_000)
  await settled(watcher, calls, [directory])
  for (const action of [
    () => writeFileSync(path.join(directory, 'a.yaml'), 'two'),
    () => writeFileSync(path.join(directory, 'b.yaml'), 'new'),
    () => rmSync(path.join(directory, 'a.yaml')),
  ]) {
    const before = calls.count()
    const called = calls.next()
    action()
    assert.equal(await called, before + 1)
  }
})

test('a file in a subdirectory made later', async (t) => {
  const { directory, calls, watcher } = start(t, () => {}, 60_000)
  await settled(watcher, calls, [directory])
  let called = calls.next()
  mkdirSync(path.join(directory, 'sub'))
  await called
  called = calls.next()
  writeFileSync(path.join(directory, 'sub', 'a.yaml'), 'one')
  await called
})

test("Kubernetes' ..data swap is one change", async (t) => {
  const mount = (directory: string, version: string, text: string) => {
    mkdirSync(path.join(directory, version))
    writeFileSync(path.join(directory, version, 'a.yaml'), text)
    symlinkSync(version, path.join(directory, `..data_tmp`))
    renameSync(path.join(directory, '..data_tmp'), path.join(directory, '..data'))
  }
  const { directory, calls, watcher } = start(
    t,
    (d) => {
      mount(d, '..1', 'one')
      symlinkSync('..data/a.yaml', path.join(d, 'a.yaml'))
    },
    60_000,
  )
  await settled(watcher, calls, [directory])
  const before = calls.count()
  const called = calls.next()
  mount(directory, '..2', 'two')
  assert.equal(await called, before + 1)
})

test('a single file replaced by rename, as editors do', async (t) => {
  const { directory, calls, watcher } = start(t, (d) => writeFileSync(path.join(d, 'gateway.yaml'), 'one'), 60_000)
  const file = path.join(directory, 'gateway.yaml')
  await settled(watcher, calls, [file])
  const called = calls.next()
  writeFileSync(`${file}.tmp`, 'two')
  renameSync(`${file}.tmp`, file)
  await called
})

test('the same content written again is no change; a burst is one', async (t) => {
  const { directory, calls, watcher } = start(t, (d) => writeFileSync(path.join(d, 'a.yaml'), 'one'), 60_000)
  await settled(watcher, calls, [directory])
  const before = calls.count()
  writeFileSync(path.join(directory, 'a.yaml'), 'one')
  const called = calls.next()
  for (let i = 0; i < 20; i++) writeFileSync(path.join(directory, 'a.yaml'), `text ${i}`)
  assert.equal(await called, before + 1)
})

test('a path that does not exist yet, seen by the poll alone', async (t) => {
  const { directory, calls, watcher } = start(t, () => {}, 30)
  // The parent does not exist either, so there is nothing that could send events.
  const file = path.join(directory, 'later', 'deep', 'a.yaml')
  await settled(watcher, calls, [file])
  const called = calls.next()
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, 'here')
  await called
})

test('no call after close', async (t) => {
  const { directory, calls, watcher } = start(t, (d) => writeFileSync(path.join(d, 'a.yaml'), 'one'), 60_000)
  await settled(watcher, calls, [directory])
  const before = calls.count()
  watcher.close()
  writeFileSync(path.join(directory, 'a.yaml'), 'two')
  // A second watcher sees the same change: by then the first would have called.
  const second = new Promise<void>((resolve) => {
    const other = watchConfiguration(
      [],
      () => {
        other.close()
        resolve()
      },
      { stableMs: 120 },
    )
    other.update([directory])
  })
  await second
  assert.equal(calls.count(), before)
})
