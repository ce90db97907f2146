/** Real curl: its command lines, long to run and short to read, and what it printed. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import type { RequestStep } from './steps.ts'
import { GATEWAY_NAME } from './world.ts'

/** One way in: a gateway's port, and what a caller shows there. */
export type Door = {
  readonly mtls: boolean
  readonly port: number
  /** Directory of the caller's certificate; null: none. */
  readonly identity: string | null
  readonly meshCa: string
}

export type CurlAnswer = {
  /** 0, or curl's own code: the connection was closed before an answer. */
  readonly exitCode: number
  /** null: no answer. */
  readonly status: number | null
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  readonly stderr: string
}

const MAX_SECONDS = 60

/** @throws Error with the reason when there is no curl that runs */
export async function requireCurl(): Promise<void> {
  try {
    await runCurl(['--version'], AbortSignal.timeout(10_000))
  } catch (error) {
    throw new Error(
      `the demo needs curl and could not run it (${error instanceof Error ? error.message : String(error)}).\n` +
        'Install it (Debian: apt-get install curl) and try again.',
    )
  }
}

/** What curl is given: exactly what a user would type, as separate arguments. */
export function curlArguments(step: RequestStep, door: Door): string[] {
  const { identity, port } = door
  const authority = door.mtls ? `${GATEWAY_NAME}:80` : `${step.host}:80`
  const origin = door.mtls ? `https://${authority}` : `http://${step.host}`
  const certificate =
    identity === null ? [] : ['--cert', path.join(identity, 'cert-chain.pem'), '--key', path.join(identity, 'key.pem')]
  return [
    ...certificate,
    ...(door.mtls ? ['--cacert', door.meshCa] : []),
    '--connect-to',
    `${authority}:127.0.0.1:${port}`,
    ...methodOptions(step),
    ...(door.mtls ? ['-H', `Host: ${step.host}`] : []),
    `${origin}${step.path}`,
  ]
}

/** The same, with names for what is long: `$sleep_a` for the certificate, `$gate` for the gateway. */
export function shortCommand(step: RequestStep, door: Door): string {
  if (!door.mtls) return shellLine(['curl', '$gate', ...methodOptions(step), `http://${step.host}${step.path}`])
  const caller = step.caller === null ? '' : `${shortName(step.caller)} `
  return `curl ${caller}$gate ${shellLine([...methodOptions(step), '-H', `Host: ${step.host}`])} https://${GATEWAY_NAME}:80${step.path}`
}

/** `$sleep_a`: how the short form writes a caller's certificate. */
export function shortName(caller: string): string {
  return `$${caller.replaceAll(/[^A-Za-z0-9]/g, '_')}`
}

export function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[A-Za-z0-9_./:@%+=,$-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ')
}

function methodOptions(step: RequestStep): readonly string[] {
  return step.method === 'HEAD' ? ['--head', ...(step.options ?? [])] : (step.options ?? [])
}

/** Runs curl without the user's ~/.curlrc and proxies. @throws when it cannot be started or the signal fires */
export async function curl(step: RequestStep, door: Door, signal: AbortSignal): Promise<CurlAnswer> {
  const quiet = ['-q', '--noproxy', '*', '-sS', '-i', '--max-time', String(MAX_SECONDS)]
  const { exitCode, stdout, stderr } = await runCurl([...quiet, ...curlArguments(step, door)], signal)
  return { exitCode, stderr: stderr.trim(), ...readAnswer(stdout) }
}

type Output = { readonly exitCode: number; readonly stdout: string; readonly stderr: string }

async function runCurl(words: readonly string[], signal: AbortSignal): Promise<Output> {
  return new Promise((resolve, reject) => {
    execFile('curl', words, { signal, maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve({ exitCode: 0, stdout, stderr })
      else if (typeof error.code === 'number') resolve({ exitCode: error.code, stdout, stderr })
      else reject(error)
    })
  })
}

/** Status line, fields, empty line, body. Interim answers (1xx) come before it in the same form. */
function readAnswer(text: string): Pick<CurlAnswer, 'status' | 'headers' | 'body'> {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return { status: null, headers: new Map(), body: '' }
  const [first = '', ...fields] = text.slice(0, end).split('\r\n')
  const status = Number(first.split(' ')[1])
  if (status >= 100 && status < 200) return readAnswer(text.slice(end + 4))
  const headers = new Map(
    fields.map((field) => {
      const colon = field.indexOf(':')
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()] as const
    }),
  )
  return { status, headers, body: text.slice(end + 4) }
}
