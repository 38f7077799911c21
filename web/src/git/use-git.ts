// The Git repositories of a workspace: which one is shown, its status, and operations on it.
//
// The agent tells when the status may have changed. One request reads it at a time; what happens during it
// leads to one more.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { GitEvent, GitOperation, GitStatus, RepositoryChanged, Repository } from "../api/agent";
import { ApiError, errorMessage } from "../api/client";
import { gitApi, socketUrl } from "../api/endpoints";
import { ReconnectingSocket, reconnectOnReturn } from "../streams/reconnecting-socket";
import { repositoryOf } from "./git-model";
import { runGit, type GitResult } from "./run-git";

export type GitPrompt = Extract<GitEvent, { type: "prompt" }>;

/** An operation that takes a while. */
export interface RunningOperation {
  label: string;
  /** What it does at the moment, in Git's words. */
  text: string;
  percent: number | null;
  cancel: () => void;
}

export interface GitRepositories {
  workspace: string;
  /** Null: not known yet. */
  repositories: readonly Repository[] | null;
  /** The repository that is shown. */
  repository: string | null;
  select: (repository: string) => void;
  /** Looks for repositories again, and reads the status. */
  refresh: () => void;
  status: GitStatus | null;
  /** Why the status cannot be read. Empty: it can. */
  failure: string;
  /** Another number for each status. */
  version: number;
  running: RunningOperation | null;
  prompt: GitPrompt | null;
  answer: (answer: string | null) => void;
  /** Runs an operation in the shown repository, or in `at`. */
  run: (operation: GitOperation, label: string, at?: string) => Promise<GitResult>;
}

interface Shown {
  repository: string;
  status: GitStatus | null;
  failure: string;
  version: number;
}

/**
 * `activeFile` chooses the repository until the user does. `folders` is another value when folders of the
 * home have come or gone, and null until they are known.
 */
export function useGit(
  workspace: string,
  activeFile: string | null,
  folders: string | null,
): GitRepositories {
  const [repositories, setRepositories] = useState<readonly Repository[] | null>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [shown, setShown] = useState<Shown | null>(null);
  const [running, setRunning] = useState<RunningOperation | null>(null);
  const [prompt, setPrompt] = useState<GitPrompt | null>(null);
  const read = useRef<() => void>(() => undefined);

  const find = useCallback(async () => {
    try {
      setRepositories(await gitApi.repositories(workspace));
    } catch (error) {
      console.warn("cannot list repositories", error);
    }
  }, [workspace]);
  // A program may have cloned or removed a repository.
  useEffect(() => {
    if (folders !== null) void find();
  }, [find, folders]);

  const paths = useMemo(() => (repositories ?? []).map(({ path }) => path), [repositories]);
  const ofFile = activeFile === null ? null : repositoryOf(activeFile, paths);
  const isThere = chosen !== null && paths.includes(chosen);
  const last = useRef<string | null>(null);
  const repository = isThere
    ? chosen
    : (ofFile ?? paths.find((path) => path === last.current) ?? paths[0] ?? null);
  useEffect(() => {
    last.current = repository;
  });

  useEffect(() => {
    if (repository === null) return;
    let isOver = false;
    let isReading = false;
    let isStale = false;
    let version = 0;
    const readStatus = async () => {
      if (isReading) {
        isStale = true;
        return;
      }
      isReading = true;
      do {
        isStale = false;
        try {
          const status = await gitApi.status(workspace, repository);
          if (isOver) return;
          version += 1;
          setShown({ repository, status, failure: "", version });
        } catch (error) {
          if (isOver) return;
          if (error instanceof ApiError && error.status === 404) void find();
          setShown({ repository, status: null, failure: errorMessage(error), version });
        }
      } while (isStale);
      isReading = false;
    };
    read.current = () => void readStatus();
    const socket = new ReconnectingSocket({
      url: () => socketUrl(workspace, "git/watch"),
      ping: () => JSON.stringify({ type: "ping" }),
      // What has changed while there was no connection is reported at once.
      onOpen: () => socket.send(JSON.stringify({ type: "watch", repository })),
      onMessage: (data) => {
        if (typeof data === "string" && (JSON.parse(data) as RepositoryChanged).changed) void readStatus();
      },
    });
    socket.start();
    const stopWaking = reconnectOnReturn(socket);
    return () => {
      isOver = true;
      stopWaking();
      socket.close();
    };
  }, [workspace, repository, find]);

  const run = useCallback<GitRepositories["run"]>(
    async (operation, label, at) => {
      const target = at ?? repository;
      if (target === null) throw new Error("Open a repository first.");
      const controller = new AbortController();
      const show = (text: string, percent: number | null) =>
        setRunning({ label, text, percent, cancel: () => controller.abort() });
      show("", null);
      try {
        return await runGit(
          workspace,
          target,
          operation,
          {
            onProgress: ({ text, percent }) => show(text, percent ?? null),
            onPrompt: setPrompt,
          },
          controller.signal,
        );
      } finally {
        setRunning(null);
        setPrompt(null);
        read.current();
      }
    },
    [workspace, repository],
  );
  const answer = useCallback(
    (answer: string | null) => {
      if (!prompt) return;
      setPrompt(null);
      gitApi.answer(workspace, prompt.prompt, answer).catch((error: unknown) => {
        console.warn("cannot answer", error);
      });
    },
    [workspace, prompt],
  );
  const refresh = useCallback(() => {
    void find();
    read.current();
  }, [find]);

  const current = shown?.repository === repository ? shown : null;
  return {
    workspace,
    repositories,
    repository,
    select: setChosen,
    refresh,
    status: current?.status ?? null,
    failure: current?.failure ?? "",
    version: current?.version ?? 0,
    running,
    prompt,
    answer,
    run,
  };
}
