/** Kubernetes' syntax of labels (istio pkg/config/labels `Validate`). */
const NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const PREFIX = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/

/** What is wrong with the first bad label, or null. */
export function labelsProblem(labels: Readonly<Record<string, string>>): { key: string; message: string } | null {
  for (const [key, value] of Object.entries(labels)) {
    const slash = key.lastIndexOf('/')
    const prefix = slash === -1 ? null : key.slice(0, slash)
    if (!NAME.test(key.slice(slash + 1)) || (prefix !== null && !PREFIX.test(prefix)))
      return { key, message: `"${key}" is not the key of a label` }
    if (value !== '' && !NAME.test(value)) return { key, message: `"${value}" is not the value of a label` }
  }
  return null
}
