import Foundation

/// A program that becomes the real engine, after it arranged for some misfortune.
enum EngineScript {
    static var engine: URL { Binaries.directory.appending(path: "shoal-engine") }

    /// Sends the engine `signal` as soon as it has its model file open: each one, or only the first in `folder`.
    static func signalled(_ signal: String, onlyFirst: Bool, in folder: URL) throws -> URL {
        let isOpen = "ls -l /proc/$$/fd 2>/dev/null | grep -q '[.]gguf'"
        let condition = onlyFirst ? "mkdir '\(folder.path)/was-signalled' 2>/dev/null &&" : ""
        let misfortune = "while kill -0 $$ && ! \(isOpen); do :; done; \(condition) kill -\(signal) $$"
        return try write(
            "(\(misfortune)) </dev/null >/dev/null 2>&1 &\nexec '\(engine.path)' \"$@\"", in: folder)
    }

    /// Any shell script.
    static func write(_ script: String, in folder: URL) throws -> URL {
        let file = folder.appending(path: "engine-\(UUID().uuidString).sh")
        try Data("#!/bin/sh\n[ \"$1\" = --build ] && exec '\(engine.path)' --build\n\(script)\n".utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
        return file
    }
}
