// The platform of the browser.

/** Whether it is one of Apple's: their Option key, which is Alt for the browser, types characters. */
export const isApple = (): boolean => /Mac OS X/.test(navigator.userAgent);
