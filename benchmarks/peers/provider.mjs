// What promptfoo calls: one execution on one release tag.
export default class Deployment {
  constructor({ id, config }) {
    this.name = id;
    this.config = config;
  }

  id() {
    return this.name;
  }

  async callApi(prompt) {
    const { url, key, releaseTag } = this.config;
    const reply = await fetch(`${url}/v1/execute-workflow`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-KEY": key },
      body: JSON.stringify({
        workflow_deployment_name: "w",
        release_tag: releaseTag,
        inputs: [{ name: "ticket", type: "STRING", value: prompt }],
      }),
    });
    const { data } = await reply.json();
    if (data.state !== "FULFILLED") return { error: data.state };
    return { output: data.outputs[0].value };
  }
}
