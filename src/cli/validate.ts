/** `sallyport validate`: every finding of a bootstrap file or of resource directories, with file:line:col. */
import { parseArgs } from 'node:util'
import { type Diagnostic, formatDiagnostic } from '../config/diagnostics.ts'
import { loadConfiguration, validateFiles } from '../config/load.ts'
import { checkAccessLogFormat } from '../observe/access-log/format.ts'

/** What a command writes to; `isTTY` decides about colour. */
export type CommandIo = { readonly stdout: CommandStream; readonly stderr: CommandStream }
type CommandStream = { readonly write: (text: string) => unknown; readonly isTTY?: boolean }

const USAGE = `usage: sallyport validate -f gateway.yaml | DIR…   [--strict] [-o text|json] [--color auto|never]
  -f, --config FILE   the bootstrap file: checks it, its resources, and what they mean together
  DIR…                resource files or directories alone, without a gateway
  --strict            warnings are errors
exit code: 0 no errors, 1 errors, 2 usage
`

const COLORS: Readonly<Record<Diagnostic['severity'], string>> = { error: '31', warning: '33', info: '36' }

/** Exit code 0: no errors (warnings allowed unless `--strict`), 1: errors, 2: usage (contract §1). */
export async function validate(argv: readonly string[], io: CommandIo): Promise<number> {
  const options = parse(argv)
  if (typeof options === 'string') {
    io.stderr.write(`${options === '' ? '' : `sallyport validate: ${options}\n`}${USAGE}`)
    return options === '' ? 0 : 2
  }
  const found =
    options.config === null
      ? validateFiles(options.paths)
      : loadConfiguration(options.config, { checkAccessLogFormat }).diagnostics
  const diagnostics = options.strict ? found.map(asError) : found
  const errors = diagnostics.filter((each) => each.severity === 'error').length
  const warnings = diagnostics.filter((each) => each.severity === 'warning').length
  if (options.output === 'json') {
    io.stdout.write(`${JSON.stringify({ errors, warnings, diagnostics }, null, 2)}\n`)
  } else {
    const colored = options.color === 'auto' && io.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === ''
    for (const each of diagnostics) io.stdout.write(`${colored ? paint(each) : formatDiagnostic(each)}\n`)
    io.stderr.write(`${count(errors, 'error')}, ${count(warnings, 'warning')}\n`)
  }
  return errors > 0 ? 1 : 0
}

type Options = {
  readonly config: string | null
  readonly paths: readonly string[]
  readonly strict: boolean
  readonly output: 'text' | 'json'
  readonly color: 'auto' | 'never'
}

/** The options, or what is wrong with them; '' asks for help. */
function parse(argv: readonly string[]): Options | string {
  let parsed: ReturnType<typeof parseWith>
  try {
    parsed = parseWith(argv)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  const { values, positionals } = parsed
  if (values.help === true) return ''
  if (values.config === undefined && positionals.length === 0) return 'name a bootstrap file (-f) or directories'
  if (values.config !== undefined && positionals.length > 0) return 'either -f or directories, not both'
  const { output, color } = values
  if (output !== 'text' && output !== 'json') return `-o must be text or json, not ${output}`
  if (color !== 'auto' && color !== 'never') return `--color must be auto or never, not ${color}`
  return { config: values.config ?? null, paths: positionals, strict: values.strict === true, output, color }
}

function parseWith(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'f' },
      strict: { type: 'boolean' },
      output: { type: 'string', short: 'o', default: 'text' },
      color: { type: 'string', default: 'auto' },
      help: { type: 'boolean', short: 'h' },
    },
  })
}

function asError(diagnostic: Diagnostic): Diagnostic {
  return diagnostic.severity === 'warning' ? { ...diagnostic, severity: 'error' } : diagnostic
}

function paint(diagnostic: Diagnostic): string {
  const { severity } = diagnostic
  return formatDiagnostic(diagnostic).replace(` ${severity} `, ` \u001b[${COLORS[severity]}m${severity}\u001b[0m `)
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
