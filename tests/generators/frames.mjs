// Generates a TypeScript type for each frame and body of an AsyncAPI document; fails if a type has no name of its own.
import { readFile } from "node:fs/promises";
import { TypeScriptFileGenerator } from "@asyncapi/modelina";

const [document, folder] = process.argv.slice(2);
const input = JSON.parse(await readFile(document, "utf8"));
const generator = new TypeScriptFileGenerator({ modelType: "interface", rawPropertyNames: true,
  processorOptions: { interpreter: { ignoreAdditionalProperties: true } } });
const models = await generator.generateToFiles(input, folder, { exportType: "named" }, true);
const names = models.map((model) => model.modelName);
const doubled = names.filter((name, at) => names.indexOf(name) !== at);
const anonymous = names.filter((name) => /anonymous/i.test(name));
console.log(`${names.length} types: ${names.sort().join(", ")}`);
if (anonymous.length > 0) throw new Error(`types without a name: ${anonymous.join(", ")}`);
if (doubled.length > 0) throw new Error(`more than one type of this name: ${doubled.join(", ")}`);
for (const name of ["DeviceSend", "DeviceReady", "RoomChat", "Chat", "DeletedChat"]) {
  if (!names.includes(name)) throw new Error(`there is no type ${name}`);
}
