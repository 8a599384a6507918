// Charts as SVG, without styles in the markup, which the Content Security Policy forbids. Each has its numbers as a table beside
// it, so the picture is hidden from screen readers.
import { type ReactNode, useId } from "react";
import { useT } from "../messages";

export type Series = { name: string; values: number[] };
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 180, 48, 20];
/** More points than pixels are no use: each point is the last of its group, as the values are cumulative. */
const MOST_POINTS = 320;

function thin<T>(all: T[]): T[] {
  if (all.length <= MOST_POINTS) return all;
  const size = Math.ceil(all.length / MOST_POINTS);
  return all.filter((_, index) => (index + 1) % size === 0 || index === all.length - 1);
}

/** Lines of the same steps. */
export function Lines({ labels, series, table }: { labels: string[]; series: Series[]; table: ReactNode }) {
  const t = useT();
  const id = useId();
  const [names, lines] = [thin(labels), series.map(({ name, values }) => ({ name, values: thin(values) }))];
  const most = Math.max(1, ...lines.flatMap(({ values }) => values));
  const x = (index: number) => LEFT + (names.length < 2 ? 0 : (index / (names.length - 1)) * (WIDTH - LEFT - 4));
  const y = (value: number) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - 8);
  return (
    <figure className="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true" focusable="false">
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line className="grid" x1={LEFT} x2={WIDTH - 4} y1={y(most * part)} y2={y(most * part)} />
            <text className="tick" x={LEFT - 6} y={y(most * part) + 4} textAnchor="end">
              {Math.round(most * part)}
            </text>
          </g>
        ))}
        <text className="tick" x={LEFT} y={HEIGHT - 4}>
          {names[0]}
        </text>
        <text className="tick" x={WIDTH - 4} y={HEIGHT - 4} textAnchor="end">
          {names.at(-1)}
        </text>
        {lines.map(({ name, values }, index) => (
          <polyline key={name} className={`line line-${index}`} points={values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ")} />
        ))}
      </svg>
      <figcaption id={id}>
        {lines.map(({ name }, index) => (
          <span key={name} className="legend">
            <svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true" focusable="false">
              <line className={`line line-${index}`} x1="0" x2="24" y1="4" y2="4" />
            </svg>{" "}
            {name}
          </span>
        ))}
      </figcaption>
      <details>
        <summary>{t("chart.table")}</summary>
        {table}
      </details>
    </figure>
  );
}

/** Bars of counts, with their rows. */
export function Bars({ rows }: { rows: { key: string; label: ReactNode; values: number[]; shown: ReactNode[] }[] }) {
  const most = Math.max(1, ...rows.flatMap(({ values }) => values));
  return (
    <>
      {rows.map(({ key, label, values, shown }) => (
        <tr key={key}>
          <th scope="row">{label}</th>
          {values.map((value, index) => (
            <td key={index} className="numeric">
              {shown[index]}
              <svg className="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">
                <rect className={`fill-${index}`} width={(value / most) * 100} height="6" />
              </svg>
            </td>
          ))}
        </tr>
      ))}
    </>
  );
}
