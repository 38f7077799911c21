// Bars for the days of a period, with the same numbers in a table.
import type { UsageRow } from "../api/types";
import { amountOf, chartText, formatAmount, metricLabel, scaleTop, type Metric } from "./usage-model";

interface Props {
  days: UsageRow[];
  metric: Metric;
}

export function UsageChart({ days, metric }: Props) {
  const largest = Math.max(0, ...days.map((day) => amountOf(day.amounts, metric)));
  const top = scaleTop(metric, largest);
  return (
    <figure className="panel usage-chart">
      <figcaption>{metricLabel(metric)} per day (UTC)</figcaption>
      <div className="usage-plot">
        <div className="usage-scale" aria-hidden="true">
          <span>{formatAmount(metric, top)}</span>
          <span>{formatAmount(metric, top / 2)}</span>
          <span>0</span>
        </div>
        <svg
          viewBox={`0 0 ${Math.max(days.length, 1)} 100`}
          preserveAspectRatio="none"
          role="img"
          aria-label={chartText(days, metric)}
        >
          {[0, 50, 100].map((height) => (
            <line key={height} x1="0" x2={days.length} y1={height} y2={height} />
          ))}
          {days.map((day, index) => {
            const amount = amountOf(day.amounts, metric);
            const height = (amount / top) * 100;
            return (
              <rect key={day.key} x={index + 0.1} y={100 - height} width="0.8" height={height}>
                <title>{`${day.key}: ${formatAmount(metric, amount)}`}</title>
              </rect>
            );
          })}
        </svg>
        <div className="usage-ends" aria-hidden="true">
          <span>{days[0]?.key}</span>
          <span>{days.at(-1)?.key}</span>
        </div>
      </div>
      <details>
        <summary>Days as a table</summary>
        <div className="usage-days" role="region" aria-label="Days" tabIndex={0}>
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Day</th>
                <th scope="col">Running</th>
                <th scope="col" className="wide-only">
                  Homes
                </th>
                <th scope="col">Sent</th>
                <th scope="col" className="wide-only">
                  Received
                </th>
              </tr>
            </thead>
            <tbody>
              {days.map(({ key, amounts }) => (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td>{formatAmount("machine", amounts.machine_seconds)}</td>
                  <td className="wide-only">{formatAmount("stored", amounts.stored_byte_days)}</td>
                  <td>{formatAmount("sent", amounts.sent_bytes)}</td>
                  <td className="wide-only">{formatAmount("received", amounts.received_bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}
