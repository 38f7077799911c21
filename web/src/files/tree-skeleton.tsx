// Placeholder for a file tree that is still loading.

export function TreeSkeleton() {
  return (
    <div className="tree-skeleton" aria-hidden="true">
      {[52, 38, 64, 45, 70, 40, 56].map((width, index) => (
        <div key={index} className="tree-row">
          <span className="skeleton" style={{ width: `${width}%` }} />
        </div>
      ))}
    </div>
  );
}
