// Texts of a plugin in the user's language, if the plugin has them.
import type { Schemas } from "../api/client";

type Texts = Pick<Schemas["PluginVersion"], "title" | "description" | "translations">;

export function textsOf(plugin: Texts, language: string): { title: string; description: string } {
  const own = Object.hasOwn(plugin.translations, language) ? plugin.translations[language] : undefined;
  return { title: own?.title || plugin.title, description: own?.description || plugin.description };
}
