/** `sallyport run -f gateway.yaml`: starts the gateway and stays until it is told to stop. Exit 0 after a drain, 1 when it cannot start. */
import { parseArgs } from 'node:util'
import { Gateway } from '../app/gateway.ts'
import { untilStopped } from '../app/signals.ts'
import { StartError } from '../app/start-error.ts'
import { createSink } from '../observe/access-log/sink.ts'
import { createLog, LOG_LEVELS, parseLogLevel } from '../observe/log.ts'
import { type Io, UsageError } from './io.ts'

export async function run(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { config: { type: 'string', short: 'f' }, 'log-level': { type: 'string', default: 'info' } },
  })
  if (values.config === undefined || positionals.length > 0)
    throw new UsageError('run needs exactly one bootstrap file: sallyport run -f gateway.yaml')
  const level = parseLogLevel(values['log-level'])
  if (level === null) throw new UsageError(`--log-level takes one of ${Object.keys(LOG_LEVELS).join(', ')}`)
  const sink = createSink({ path: '/dev/stderr' })
  const log = createLog(sink, level)
  // A fault of ours: say what it was, lose no line, and let the pod be replaced; half a gateway guards nothing.
  const die = (error: unknown) => {
    log.critical(`uncaught: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    void sink.close().finally(() => process.exit(1))
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  try {
    const gateway = await Gateway.start({ configFile: values.config, log })
    const ports = Object.fromEntries(gateway.boundPorts.map(({ gatewayPort, port }) => [gatewayPort, port]))
    log.info('gateway ready', {
      ports,
      control: gateway.control?.describe() ?? null,
      generation: gateway.active.generation,
    })
    return await untilStopped(gateway)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    for (const problem of error.problems) io.stderr.write(`${problem}\n`)
    io.stderr.write('sallyport: not started\n')
    return 1
  } finally {
    await sink.close()
  }
}
