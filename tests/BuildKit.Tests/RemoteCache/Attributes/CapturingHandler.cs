using System.Collections.Concurrent;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>Notes where requests to object stores would go and who signs them, then sends them to a store on loopback.</summary>
internal sealed class CapturingHandler(string host) : DelegatingHandler(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false })
{
    public ConcurrentQueue<string> Places { get; } = new();

    public ConcurrentQueue<string> Identities { get; } = new();

    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var url = request.RequestUri!;
        Places.Enqueue($"{url.Scheme}://{(url.Authority == host ? "@" : url.Authority)}");
        Identities.Enqueue(string.Join(' ', Header(request, "Authorization").Split('/')[0].Split(':')[0], Header(request, "x-amz-security-token")).Trim());
        request.RequestUri = new UriBuilder(url) { Scheme = "http", Host = host.Split(':')[0], Port = int.Parse(host.Split(':')[1], System.Globalization.CultureInfo.InvariantCulture) }.Uri;
        return base.SendAsync(request, cancellationToken);
    }

    private static string Header(HttpRequestMessage request, string name) => request.Headers.TryGetValues(name, out var values) ? string.Join(',', values) : "";
}
