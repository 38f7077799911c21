// Lists directories, each one at a time. A request while a directory is being listed is answered by one
// more listing afterwards. So every listing is shown, even if it takes longer than the time between two
// changes, and the last one began after the last change.

export class ListingQueue {
  /** The directories that are being listed, and whether they must be listed again. */
  private readonly running = new Map<string, { again: boolean }>();
  private isClosed = false;

  constructor(private readonly list: (path: string) => Promise<void>) {}

  request(path: string): void {
    const running = this.running.get(path);
    if (running) running.again = true;
    else if (!this.isClosed) void this.run(path);
  }

  /** Begins no further listing. */
  close(): void {
    this.isClosed = true;
  }

  private async run(path: string): Promise<void> {
    const state = { again: true };
    this.running.set(path, state);
    while (state.again && !this.isClosed) {
      state.again = false;
      await this.list(path);
    }
    this.running.delete(path);
  }
}
