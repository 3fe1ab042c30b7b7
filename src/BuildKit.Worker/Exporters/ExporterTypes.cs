using BuildKit.Registry;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Exporters;

/// <summary>The exporters there are.</summary>
public static class ExporterTypes
{
    /// <summary>A factory per type.</summary>
    public static IReadOnlyList<IExporterFactory> All(RegistryClient registry, IClientSessions sessions, IRefStore refs, string temporaryDirectory) => [];
}
