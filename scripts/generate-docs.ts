/** `npm run docs`: writes the parts of docs/ that come from tables in the source. */
import { writeFileSync } from 'node:fs'
import { DOCUMENTS } from './documents.ts'

for (const [name, render] of Object.entries(DOCUMENTS))
  writeFileSync(new URL(`../docs/${name}`, import.meta.url), render())
