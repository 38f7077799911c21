// The logo, which links to the home page.

export function Brand({ href = "/" }: { href?: string }) {
  return (
    <a className="brand" href={href}>
      <img src="/icon.svg" alt="Burrow" />
      <span className="wordmark" aria-hidden="true">
        Burrow
      </span>
    </a>
  );
}
