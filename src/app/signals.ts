/** SIGTERM and SIGINT drain, a second one ends at once, SIGHUP reloads (contract §9). */
import type { Gateway } from './gateway.ts'

/** Installs the handlers; resolves with the exit code once the gateway has ended. */
export async function untilStopped(gateway: Gateway): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  let asked = false
  const stop = (cause: string) => {
    if (asked) {
      gateway.log.warning(`${cause} again: ending now`)
      void gateway.destroy().then(() => resolve(0))
      return
    }
    asked = true
    gateway.log.info(`${cause}: draining`, { drainDurationMs: gateway.active.settings.drainDurationMs })
    void gateway.close().then(() => resolve(0))
  }
  const reload = () => {
    gateway.log.info('SIGHUP: reloading')
    void gateway.reload()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', reload)
  gateway.onQuit = () => stop('POST /quitquitquit')
  const code = await promise
  process.off('SIGTERM', stop)
  process.off('SIGINT', stop)
  process.off('SIGHUP', reload)
  return code
}
