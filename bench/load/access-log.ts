/** That a contender did write its log: one JSON line per request. After each slice the file is emptied. */
import { createReadStream, truncateSync } from 'node:fs'
import { eventually } from '../../src/testing/eventually.ts'

const NEWLINE = 10

/** @throws when there are fewer lines than requests a while after the last of them, or the last line is no JSON */
export async function checkAccessLog(name: string, file: string, requests: number): Promise<void> {
  const last = await eventually(`${name} has written ${requests} log lines`, async () => {
    const { lines, tail } = await readLog(file)
    return lines >= requests ? tail : null
  })
  try {
    // Or Istio's text.
    if (!/^\[\d{4}-\d\d-\d\dT/.test(last)) JSON.parse(last)
  } catch {
    throw new Error(`${name}: its log line is no JSON: ${last}`)
  }
  // All contenders append, so what they write next goes to the start.
  truncateSync(file)
}

async function readLog(file: string): Promise<{ readonly lines: number; readonly tail: string }> {
  let lines = 0
  let end = Buffer.alloc(0)
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) lines++
    end = Buffer.concat([end, chunk]).subarray(-16_384)
  }
  // The line before the last newline: behind it there may be half of one.
  const whole = end.subarray(0, Math.max(0, end.lastIndexOf(NEWLINE)))
  return { lines, tail: whole.toString('utf8', whole.lastIndexOf(NEWLINE) + 1) }
}
