/**
 * `node dist/cli/healthcheck.js [URL]`: exit 0 when the gateway in this container is ready, 1 when it is not. For the image's
 * HEALTHCHECK, in an image without curl; not a command of `sallyport`. Loads nothing of the program: it runs every few
 * seconds, within the gateway's own limits.
 */
import { get } from 'node:http'
import type { Io } from './io.ts'

/** The default of spec.health, by loopback. */
const READY_URL = 'http://127.0.0.1:15021/healthz/ready'
/** Less than the HEALTHCHECK's own 5 s, so that it is this program that says what was wrong. */
const TIMEOUT_MS = 4000

/** Resolves to the exit code: 0 for an answer of 200, else 1 with the reason on stderr. */
export async function healthcheck(argv: readonly string[], io: Io): Promise<0 | 1> {
  const [url = READY_URL] = argv
  const problem = await notReady(url)
  if (problem === null) return 0
  io.stderr.write(`not ready: ${url}: ${problem}\n`)
  return 1
}

/** What is wrong; null when nothing is. */
async function notReady(url: string): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>()
  try {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
      response.resume()
      resolve(response.statusCode === 200 ? null : `status ${response.statusCode}`)
    })
    request.on('error', (error) => resolve(error.name === 'TimeoutError' ? 'no answer' : error.message))
  } catch (error) {
    // Not a URL of ours.
    resolve(error instanceof Error ? error.message : String(error))
  }
  return promise
}

// Nodes before 24.2 do not know: they run it too, since a check that says nothing passes.
if (import.meta.main !== false) process.exitCode = await healthcheck(process.argv.slice(2), process)
