/** argv → command; the only file that does anything on import. */
import { COMMANDS, helpText } from './cli/args.ts'
import { UsageError } from './cli/io.ts'

async function main(argv: string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(helpText())
    return name === undefined ? 2 : 0
  }
  const command = COMMANDS[name]
  if (command === undefined) {
    process.stderr.write(`sallyport: unknown command ${JSON.stringify(name)}\n\n${helpText()}`)
    return 2
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`Usage: sallyport ${command.usage}\n\n${command.summary}\n`)
    return 0
  }
  try {
    return await command.main(rest, process)
  } catch (error) {
    const usage =
      error instanceof UsageError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true
    if (!usage) throw error
    process.stderr.write(`sallyport ${name}: ${(error as Error).message}\nUsage: sallyport ${command.usage}\n`)
    return 2
  }
}

process.exitCode = await main(process.argv.slice(2))
