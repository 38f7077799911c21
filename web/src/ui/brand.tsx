// The logo, which links to the home page.

export function Brand({ href = "/" }: { href?: string }) {
  return (
    <a className="brand" href={href}>
      <img src="/icon.svg" alt="" />
      <span className="wordmark">Burrow</span>
    </a>
  );
}
