/** What is written at a time to a pipe fits into it, so that nobody else's line begins in the middle of one. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { batchBytes, openTarget } from './target.ts'

/** What a pipe holds on Linux (pipe(7)); and the longest line that one reckons with, bytes. */
const PIPE = 65_536
const LINE = 8_192

test('a batch for a pipe fits into it, with the line that made it long enough; files take more at a time', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-target-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const fifo = join(directory, 'fifo')
  execFileSync('mkfifo', [fifo])
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openTarget(fifo)
  const file = openTarget(join(directory, 'access.log'))
  assert.ok(batchBytes(writer) + LINE <= PIPE, `${batchBytes(writer)}`)
  assert.ok(batchBytes(file) > PIPE, `${batchBytes(file)}`)
  for (const fd of [reader, writer, file]) closeSync(fd)
})
