/** TABLE of commands: help and dispatch read it. */
import { block, blocks, unblock } from './block.ts'
import { certs } from './certs.ts'
import { explain } from './explain.ts'
import type { Io } from './io.ts'
import { run } from './run.ts'
import { validate } from './validate.ts'
import { version } from './version.ts'

export type Command = {
  readonly usage: string
  readonly summary: string
  /** Resolves to the exit code. May throw UsageError, or what parseArgs throws (exit code 2). */
  readonly main: (argv: string[], io: Io) => Promise<number>
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  run: { usage: 'run -f FILE [--log-level LEVEL]', summary: 'start the gateway', main: run },
  validate: {
    usage: 'validate -f FILE | DIR… [--strict]',
    summary: 'check bootstrap and resources; file:line:col for each finding',
    main: validate,
  },
  explain: {
    usage:
      'explain -f FILE [--from spiffe://…] [--port 80] [--source-ip IP] [--sni NAME] [--claim k=v]… METHOD URL [-H "name: value"]… | tls://HOST[:PORT] | tcp://HOST:PORT [-o text|json]',
    summary: 'the decision and why: every policy, rule and route consulted',
    main: explain,
  },
  block: {
    usage:
      'block -f FILE | --admin URL --from SPIFFE-ID|ns/NAMESPACE|* [--to HOST] --for 30m --reason TEXT [-o text|json]',
    summary: 'refuse a caller on every gateway now, and end what it has open',
    main: block,
  },
  unblock: { usage: 'unblock -f FILE | --admin URL ID', summary: 'lift a block', main: unblock },
  blocks: { usage: 'blocks -f FILE | --admin URL [-o text|json]', summary: 'what is blocked now', main: blocks },
  certs: {
    usage: 'certs init [--trust-domain D] | certs issue --spiffe ID [--dns N]… [--ttl 24h]',
    summary: 'a development CA in certs/, and SVIDs from it',
    main: certs,
  },
  version: { usage: 'version [-o text|json]', summary: 'print the version', main: version },
}

export function helpText(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const rows = Object.entries(COMMANDS).map(
    ([name, { usage, summary }]) => `  ${name.padEnd(width)}  ${summary}\n  ${' '.repeat(width)}    sallyport ${usage}`,
  )
  return [
    'Usage: sallyport COMMAND [options]',
    '',
    ...rows,
    '',
    '-f, --config FILE is the bootstrap file. validate and explain take -o text|json and --color auto|never (also NO_COLOR).',
    'Exit codes: run 0 after a drain, 1 not started · validate 0 no errors, 1 errors · explain 0 allowed, 1 refused · 2 usage.',
    '',
  ].join('\n')
}
