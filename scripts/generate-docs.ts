/** `npm run docs`: writes the parts of docs/ that come from tables in the source. */
import { writeFileSync } from 'node:fs'
import { diagnosticsDocument } from '../src/config/diagnostics-document.ts'

const directory = new URL('../docs/', import.meta.url)

writeFileSync(new URL('diagnostics.md', directory), diagnosticsDocument())
