import Foundation

/// A program that becomes the real engine, after it arranged for some misfortune.
enum EngineScript {
    static var engine: URL { Binaries.directory.appending(path: "shoal-engine") }

    /// Sends the engine `signal` when it opens a model file: each one, or only the first in `folder`.
    static func signalled(_ signal: Int32, onlyFirst: Bool, in folder: URL) async throws -> URL {
        let library = try await TestFiles.compile("signal_at_load", in: folder)
        let first = onlyFirst ? "SIGNAL_ONLY_FIRST='\(folder.path)/was-signalled' " : ""
        return try write(
            "\(first)SIGNAL_AT_LOAD=\(signal) LD_PRELOAD='\(library.path)' exec '\(engine.path)' \"$@\"", in: folder)
    }

    /// Any shell script.
    static func write(_ script: String, in folder: URL) throws -> URL {
        let file = folder.appending(path: "engine-\(UUID().uuidString).sh")
        try Data("#!/bin/sh\n[ \"$1\" = --build ] && exec '\(engine.path)' --build\n\(script)\n".utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
        return file
    }
}
