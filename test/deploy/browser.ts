/**
 * Headless Chromium from the distribution, driven through its debugging protocol over Node's own WebSocket: width, colour
 * scheme, what the page says of itself, pictures.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'

type Message = {
  readonly id?: number
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: { readonly message: string }
}

export type View = {
  readonly width: number
  readonly height: number
  readonly scheme: 'light' | 'dark'
  readonly mobile: boolean
}

export type Tab = {
  /** Opens an address at this size and in these colours, and waits until it is loaded. */
  open(url: string, view: View): Promise<void>
  /** Evaluates an expression in the page; promises are awaited. @throws what it throws */
  evaluate<T>(expression: string): Promise<T>
  /** PNG; `full`: the whole page, not only what the window shows. */
  picture(full: boolean): Promise<Buffer>
  /** What the browser complained of since the start: errors, refused by the content security policy. */
  readonly complaints: readonly string[]
  /** Addresses asked for since the start. */
  readonly requests: readonly string[]
}

/** Starts Chromium with a profile of its own; it ends with the test. */
export async function startBrowser(t: TestContext): Promise<Tab> {
  const profile = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'))
  const child = spawn(
    'chromium',
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--no-first-run',
      '--hide-scrollbars',
      '--remote-debugging-port=0',
      `--user-data-dir=${profile}`,
      'about:blank',
    ],
    { stdio: 'ignore' },
  )
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGTERM')
    const impatience = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await ended
    clearTimeout(impatience)
    // Its helpers end a moment later, and write to the last.
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const port = await eventually(
    'Chromium says where it listens',
    () => {
      if (child.exitCode !== null) throw new Error(`chromium ended with ${child.exitCode}`)
      try {
        // Seen between its making and its writing, the file is empty.
        return Number(readFileSync(join(profile, 'DevToolsActivePort'), 'utf8').split('\n')[0]) || null
      } catch {
        return null
      }
    },
    60_000,
  )
  return attach(await eventually('Chromium has a tab', () => debuggerOf(port), 60_000))
}

/** The address of the tab's debugger; null while there is none. The file with the port is there before somebody listens. */
async function debuggerOf(port: number): Promise<string | null> {
  type Target = { readonly type: string; readonly webSocketDebuggerUrl: string }
  try {
    const targets = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as readonly Target[]
    return targets.find(({ type }) => type === 'page')?.webSocketDebuggerUrl ?? null
  } catch {
    return null
  }
}

async function attach(address: string): Promise<Tab> {
  const socket = new WebSocket(address)
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true })
    socket.addEventListener('error', () => reject(new Error('no WebSocket to Chromium')), { once: true })
  })
  const waiting = new Map<number, (message: Message) => void>()
  const complaints: string[] = []
  const requests: string[] = []
  /** Documents whose load event has come. That of about:blank may come at any time, so each is known by its id. */
  const loaded = new Set<string>()
  socket.addEventListener('message', ({ data }) => {
    const message = JSON.parse(String(data)) as Message
    if (message.id !== undefined) waiting.get(message.id)?.(message)
    const { method, params = {} } = message
    if (method === 'Page.lifecycleEvent' && params['name'] === 'load') loaded.add(String(params['loaderId']))
    if (method === 'Log.entryAdded' || method === 'Runtime.exceptionThrown') complaints.push(JSON.stringify(params))
    if (method === 'Network.requestWillBeSent') requests.push((params['request'] as { readonly url: string }).url)
  })
  let last = 0
  const send = async (method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> => {
    last += 1
    const id = last
    const { promise, resolve } = Promise.withResolvers<Message>()
    waiting.set(id, resolve)
    socket.send(JSON.stringify({ id, method, params }))
    const { result, error } = await promise
    waiting.delete(id)
    if (error !== undefined) throw new Error(`${method}: ${error.message}`)
    return result ?? {}
  }
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`)
  await send('Page.setLifecycleEventsEnabled', { enabled: true })
  return {
    complaints,
    requests,
    open: async (url, { width, height, scheme, mobile }) => {
      await send('Emulation.setDeviceMetricsOverride', { width, height, mobile, deviceScaleFactor: 1 })
      await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
      const { loaderId, errorText } = (await send('Page.navigate', { url })) as {
        readonly loaderId?: string
        readonly errorText?: string
      }
      if (loaderId === undefined) throw new Error(`${url}: ${errorText}`)
      await eventually(`${url} is loaded`, () => loaded.has(loaderId), 60_000)
    },
    evaluate: async <T>(expression: string): Promise<T> => {
      const answer = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true })
      const { result, exceptionDetails } = answer as {
        readonly result: { readonly value: T }
        readonly exceptionDetails?: unknown
      }
      if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
      return result.value
    },
    picture: async (full) => {
      const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: full })
      return Buffer.from(data as string, 'base64')
    },
  }
}
